// The examples, started as their READMEs say, between people who do not trust each other.
import test, { before, after } from 'node:test';
import assert from 'node:assert/strict';
import { freePort, openBrowser, openPage, shot, startBroker, startExample, startOurs, strangers } from './browser.js';

let broker, browser;
before(async () => {
  broker = await startBroker();
  browser = await openBrowser();
});
after(async () => {
  await browser?.close();
  await broker?.stop();
});

function assertWellBehaved(view, url) {
  assert.deepEqual(view.complaints, []);
  assert.deepEqual(strangers(view.asked, new URL(url).host, new URL(broker.socket).host), []);
}

test('two people chat, see each other come and go, and markup stays text', async () => {
  const example = await startExample('chat', broker.socket);
  const enter = async (name, options) => {
    const view = await openPage(browser, `${example.url}#stable`, options);
    await view.page.locator('#state.up').waitFor();
    await view.page.getByLabel('Your name').fill(name);
    await view.page.getByLabel('Your name').press('Enter');
    return view;
  };
  const say = async ({ page }, text) => {
    await page.getByLabel('Message', { exact: true }).fill(text);
    await page.getByLabel('Message', { exact: true }).press('Enter');
  };
  const heard = ({ page }, text) => page.locator('#said li', { hasText: text }).waitFor();
  const present = ({ page }, name, state) => page.locator('#here li', { hasText: name }).waitFor({ state });

  try {
    const ada = await enter('Ada');
    const grace = await enter('Grace', { colorScheme: 'dark', viewport: { width: 390, height: 844 } });
    await Promise.all([present(ada, 'Grace'), present(grace, 'Ada')]);
    await say(ada, 'Is anybody in the stable?');
    await heard(grace, 'Is anybody in the stable?');
    await say(grace, 'Only <b onclick="x()">me</b> & the 말 🐎');
    await heard(ada, 'Only <b onclick="x()">me</b> & the 말 🐎');
    await say(ada, 'Good enough.');
    await heard(grace, 'Good enough.');
    await shot(ada.page, 'chat-light');
    await shot(grace.page, 'chat-phone-dark');

    await grace.page.goto(`${example.url}#kitchen`);
    await present(ada, 'Grace', 'detached');
    await say(ada, 'Gone already?');
    await heard(ada, 'Gone already?');
    assert.equal(await grace.page.locator('#said li', { hasText: 'Gone already?' }).count(), 0);
    for (const view of [ada, grace]) assertWellBehaved(view, example.url);
    await Promise.all([ada.close(), grace.close()]);
  } finally {
    await example.stop();
  }
});

test('the ticker shows moving prices and skips none', async () => {
  const example = await startExample('ticker', broker.socket, { RATE: '60' });
  try {
    for (const [name, options] of Object.entries({ 'ticker-light': {}, 'ticker-phone-dark': { colorScheme: 'dark', viewport: { width: 390, height: 844 } } })) {
      const view = await openPage(browser, example.url, options);
      await view.page.locator('#prices tr:nth-child(6)').waitFor();
      const price = view.page.locator('#prices tr:first-child td').first();
      const earlier = await price.innerText();
      await view.page.waitForFunction(old => document.querySelector('#prices td').innerText !== old, earlier);
      await view.page.waitForFunction(() => Number(document.querySelector('#rate').textContent) > 10 && document.querySelector('#behind').textContent.endsWith('ms'));
      await view.page.waitForFunction(() => document.querySelector('#prices tr:first-child td:nth-child(5)').textContent > 15);
      await shot(view.page, name);
      assert.equal(await view.page.locator('#skipped').innerText(), '0');
      assertWellBehaved(view, example.url);
      await view.close();
    }
  } finally {
    await example.stop();
  }
});

test('the chat says that it was cut off, and goes on when the broker is back', { skip: process.env.PAGE_URL ? 'needs a broker that may be stopped' : false }, async () => {
  const port = await freePort();
  let own = await startOurs(port);
  const example = await startExample('chat', own.socket);
  try {
    const { page, close } = await openPage(browser, example.url);
    const say = page.getByRole('button', { name: 'Send' });
    await page.locator('#state.up').waitFor();
    await own.stop();
    await page.locator('#state.down').waitFor();
    assert.equal(await say.isDisabled(), true);
    own = await startOurs(port);
    await page.locator('#state.up').waitFor();
    await page.getByLabel('Message', { exact: true }).fill('Still here?');
    await say.click();
    await page.locator('#said li.mine', { hasText: 'Still here?' }).waitFor();
    assert.equal(await page.locator('#said li.mine').count(), 1);
    await close();
  } finally {
    await example.stop();
    await own.stop();
  }
});
