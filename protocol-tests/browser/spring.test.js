// The chat behind Spring's relay, built as its README says: SPRING_CHAT names the jar, or `run` says why there is none.
import test, { before, after } from 'node:test';
import assert from 'node:assert/strict';
import { freePort, openBrowser, openPage, shot, startJar, startOurs, strangers } from './browser.js';

const jar = process.env.SPRING_CHAT;
const skip = jar ? false : 'needs a JDK and Maven';

let broker, tcp, browser, chat;
before(async () => {
  if (skip) return;
  tcp = await freePort();
  broker = await startOurs(await freePort(), tcp);
  chat = await startJar(jar, await freePort(), { 'relay.port': tcp });
  browser = await openBrowser();
});
after(async () => {
  await browser?.close();
  await chat?.stop();
  await broker?.stop();
});

async function enter(name, options) {
  const view = await openPage(browser, chat.url, options);
  await view.page.getByLabel('Your name').fill(name);
  await view.page.getByRole('button', { name: 'Enter' }).click();
  await view.page.locator('#state.up').waitFor();
  return view;
}

async function say({ page }, text) {
  await page.getByLabel('Message', { exact: true }).fill(text);
  await page.getByLabel('Message', { exact: true }).press('Enter');
}

const heard = ({ page }, text) => page.locator('#said li', { hasText: text }).waitFor();
const present = ({ page }, name, state) => page.locator(`#people button[data-name="${name}"]`).waitFor({ state });
const lines = ({ page }) => page.locator('#said li').allInnerTexts();

test('three people chat through Spring: who is there, what is said to all, and what to one alone', { skip }, async () => {
  const ada = await enter('Ada');
  const grace = await enter('Grace', { colorScheme: 'dark', viewport: { width: 390, height: 844 } });
  const second = await enter('Grace');
  const mary = await enter('Mary', { colorScheme: 'dark' });
  for (const view of [ada, grace, second, mary]) {
    await Promise.all(['Ada', 'Grace', 'Mary'].map(name => present(view, name)));
    assert.equal(await view.page.locator('#people button').count(), 3);
  }

  await say(ada, 'Is the stable open?');
  for (const view of [ada, grace, second, mary]) await heard(view, 'Is the stable open?');
  await say(mary, 'For <b onclick="x()">me</b> & the 말 🐎');
  for (const view of [ada, grace, second, mary]) await heard(view, 'For <b onclick="x()">me</b> & the 말 🐎');

  // Every window of Grace's gets it once, and Mary does not.
  await ada.page.locator('#people button[data-name="Grace"]').click();
  await say(ada, 'The key lies under the bucket.');
  for (const view of [ada, grace, second]) await heard(view, 'The key lies under the bucket.');
  await shot(ada.page, 'spring-chat-light');
  await shot(grace.page, 'spring-chat-phone-dark');
  await ada.page.getByRole('button', { name: 'Speak to all again' }).click();
  await say(ada, 'Good night.');
  for (const view of [ada, grace, second, mary]) await heard(view, 'Good night.');
  const whispers = async view => (await lines(view)).filter(line => line.includes('bucket')).length;
  assert.deepEqual(await Promise.all([ada, grace, second, mary].map(whispers)), [1, 1, 1, 0]);
  await shot(mary.page, 'spring-chat-dark');

  // Grace has two windows: she is there until both have gone.
  await second.page.getByRole('button', { name: 'Leave' }).click();
  await second.page.getByLabel('Your name').waitFor();
  await say(mary, 'Still there?');
  await heard(grace, 'Still there?');
  await present(ada, 'Grace');
  await grace.close();
  await present(ada, 'Grace', 'detached');
  await present(mary, 'Grace', 'detached');

  for (const view of [ada, second, mary]) {
    assert.deepEqual(view.complaints, []);
    assert.deepEqual(strangers(view.asked, new URL(chat.url).host), []);
    await view.close();
  }
});

test('a name that Spring refuses is refused on the page, with the reason', { skip }, async () => {
  const { page, close } = await openPage(browser, chat.url);
  await page.getByLabel('Your name').fill('/../');
  await page.getByRole('button', { name: 'Enter' }).click();
  await page.locator('#refused', { hasText: 'letters' }).waitFor();
  assert.equal(await page.locator('main').isHidden(), true);
  await shot(page, 'spring-chat-refused');
  await close();
});

test('the chat says that the broker is gone, and goes on when it is back', { skip }, async () => {
  const ada = await enter('Ada');
  await broker.stop();
  await ada.page.locator('#state.down').waitFor();
  broker = await startOurs(new URL(broker.page).port, tcp);
  // Spring tries again every five seconds, the page every two.
  await ada.page.locator('#state.up').waitFor({ timeout: 30_000 });
  await say(ada, 'Back again?');
  await heard(ada, 'Back again?');
  await ada.close();
});
