// The page at `/`: what a newcomer does with it, and what it must not do.
import test, { before, after } from 'node:test';
import assert from 'node:assert/strict';
import { openBrowser, openPage, shot, startBroker, strangers } from './browser.js';

let broker, browser;
before(async () => {
  broker = await startBroker();
  browser = await openBrowser();
});
after(async () => {
  await browser?.close();
  await broker?.stop();
});

// The log's entries with this command, sent or received.
const frames = (page, direction, command) => page.locator(`#log article.${direction}`, { has: page.locator(`b:text-is("${command}")`) });
const button = (page, name) => page.getByRole('button', { name, exact: true });
const open = (page, summary) => page.locator('summary', { hasText: summary }).click();
const body = page => page.locator('#send [name=body]');
const connected = page => page.locator('#state', { hasText: 'connected, STOMP 1.2' }).waitFor();
const bodyOf = (page, text) => frames(page, 'in', 'MESSAGE').locator('pre', { hasText: text });

// Runs a visit and fails if the page complained on the console or asked anybody but the broker.
async function visit(options, steps) {
  const view = await openPage(browser, broker.page, options);
  try {
    await steps(view.page);
    assert.deepEqual(view.complaints, []);
    assert.deepEqual(strangers(view.asked, new URL(broker.page).host), []);
    assert.ok(view.asked.includes(broker.socket), `no WebSocket to ${broker.socket} among ${view.asked}`);
  } finally {
    await view.close();
  }
}

test('the first message takes two clicks: Subscribe, Send', () => visit({}, async page => {
  await connected(page);
  await button(page, 'Subscribe').click();
  await button(page, 'Send').click();
  await bodyOf(page, 'Hello from the browser').waitFor();
  await shot(page, 'page-light');
}));

test('it is drawn dark when the system is, and fits a phone', async () => {
  const looks = { 'page-dark': { colorScheme: 'dark' }, 'page-phone': { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2 }, 'page-narrow': { viewport: { width: 320, height: 640 } } };
  for (const [name, options] of Object.entries(looks)) {
    await visit(options, async page => {
      await connected(page);
      await button(page, 'Subscribe').click();
      await button(page, 'Send').click();
      await bodyOf(page, 'Hello').waitFor();
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.ok(overflow <= 0, `${name} is ${overflow} px too wide`);
      await page.screenshot({ path: `${process.env.SHOTS}/${name}.png`, fullPage: true });
    });
  }
});

test('a bad destination brings an ERROR, its body, and the end of the connection in words', () => visit({}, async page => {
  await connected(page);
  await page.locator('#send [name=destination]').fill('/nowhere/at/all');
  await button(page, 'Send').click();
  const error = page.locator('#log article.error', { has: page.locator('b:text-is("ERROR")') });
  await error.waitFor();
  assert.ok(await error.locator('dt:text-is("message")').count(), 'the ERROR has no message header');
  assert.ok((await error.locator('pre').innerText()).length > 10, 'the ERROR has no body');
  await page.locator('#log article.note', { hasText: 'Closed: 1' }).waitFor();
  await page.locator('#state[data-is=bad]', { hasText: 'ERROR' }).waitFor();
  await shot(page, 'page-error');
  await button(page, 'Connect').click();
  await connected(page);
}));

test('what others send is text, never markup', () => visit({}, async page => {
  const markup = '<img src=x onerror="document.title=1"><script>document.title=2</script>';
  await connected(page);
  await button(page, 'Subscribe').click();
  await open(page, 'Headers, receipt');
  await page.locator('#send [name=headers]').fill(`note:${markup}`);
  await body(page).fill(`${markup} 한글 🐎`);
  await button(page, 'Send').click();
  await bodyOf(page, `${markup} 한글 🐎`).waitFor();
  await frames(page, 'in', 'MESSAGE').locator('dd', { hasText: markup }).waitFor();
  assert.equal(await page.locator('#log img, #log script').count(), 0);
  assert.equal(await page.title(), 'Hoofbeat');
}));

test('bytes that are no text go out as bytes and come back as hexadecimal', () => visit({}, async page => {
  await connected(page);
  await button(page, 'Subscribe').click();
  await open(page, 'Headers, receipt');
  await page.getByLabel('the body is bytes in hexadecimal').check();
  await body(page).fill('00 01 ff fe 7b 00');
  await button(page, 'Send').click();
  await frames(page, 'in', 'MESSAGE').locator('pre.hex', { hasText: '0000  00 01 ff fe 7b 00' }).waitFor();
}));

test('a header value with colon, backslash and spaces comes back as it was', () => visit({}, async page => {
  await connected(page);
  await button(page, 'Subscribe').click();
  await open(page, 'Headers, receipt');
  await page.locator('#send [name=headers]').fill('odd:a:b\\c\\n ');
  await button(page, 'Send').click();
  const value = frames(page, 'in', 'MESSAGE').locator('dt:text-is("odd") + dd');
  await value.waitFor();
  assert.equal(await value.evaluate(element => element.textContent), 'a:b\\c\\n ');
}));

test('messages of a manual subscription are acknowledged and refused by their buttons', () => visit({}, async page => {
  const queue = `/queue/browser-check-${process.pid}-${Date.now()}`;
  await connected(page);
  await page.locator('#subscribe [name=destination]').fill(queue);
  await open(page, 'Acknowledgement');
  await page.locator('[name=ack]').selectOption('client-individual');
  await button(page, 'Subscribe').click();
  await page.locator('#send [name=destination]').fill(queue);
  await open(page, 'Headers, receipt');
  await page.getByLabel('ask for a receipt').check();
  await button(page, 'Send').click();
  await frames(page, 'in', 'RECEIPT').waitFor();
  await frames(page, 'in', 'MESSAGE').first().waitFor();
  await shot(page, 'page-ack');
  await button(page, 'Nack').click();
  await frames(page, 'out', 'NACK').waitFor();
  await page.waitForFunction(count => [...document.querySelectorAll('#log b')].filter(one => one.textContent === 'MESSAGE').length === count, 2);
  await button(page, 'Ack').click();
  await frames(page, 'out', 'ACK').waitFor();
  await button(page, `Unsubscribe sub-1 from ${queue}`).click();
  await frames(page, 'out', 'UNSUBSCRIBE').waitFor();
  await button(page, 'Disconnect').click();
  await page.locator('#log article.note', { hasText: 'Closed: 100' }).waitFor();
  assert.equal(await page.locator('#log article.error').count(), 0);
}));

test('a transaction holds a message back until Commit', () => visit({}, async page => {
  await connected(page);
  await button(page, 'Subscribe').click();
  await open(page, 'Headers, receipt');
  await button(page, 'Begin a transaction').click();
  await page.getByLabel('ask for a receipt').check();
  await button(page, 'Send').click();
  await frames(page, 'in', 'RECEIPT').waitFor();
  assert.equal(await frames(page, 'in', 'MESSAGE').count(), 0);
  await button(page, 'Commit').click();
  await bodyOf(page, 'Hello').waitFor();
}));

test('the log stays bounded, can stand still, and is cleared', () => visit({}, async page => {
  await connected(page);
  await button(page, 'Subscribe').click();
  await button(page, 'Pause').click();
  await page.evaluate(() => { for (let sent = 0; sent < 400; sent++) document.querySelector('#send .main').click(); });
  await page.locator('#count', { hasText: 'paused, 500 new' }).waitFor();
  assert.equal(await bodyOf(page, 'Hello').count(), 0);
  await button(page, 'Go on').click();
  await bodyOf(page, 'Hello').first().waitFor();
  assert.ok(await page.locator('#log article').count() <= 500);
  const times = await page.locator('#log time').evaluateAll(all => all.map(one => [one.textContent.slice(6), one.dateTime.slice(17, 23)]));
  for (const [shown, meant] of times) assert.equal(shown, meant);
  await shot(page, 'page-full');
  await button(page, 'Clear').click();
  assert.equal(await page.locator('#log article').count(), 0);
}));

test('everything can be reached and done by keyboard', () => visit({}, async page => {
  await connected(page);
  await page.locator('#subscribe [name=destination]').focus();
  await page.keyboard.press('Enter');
  await frames(page, 'out', 'SUBSCRIBE').waitFor();
  await body(page).focus();
  await page.keyboard.press('Control+Enter');
  await bodyOf(page, 'Hello').waitFor();
  const nameless = await page.evaluate(() => [...document.querySelectorAll('input, select, textarea, button')]
    .filter(one => !one.labels?.length && !one.textContent.trim() && !one.getAttribute('aria-label')).length);
  assert.equal(nameless, 0);
}));

test('a broker that is not there is told in words', async () => {
  const view = await openPage(browser, broker.page);
  await connected(view.page);
  await button(view.page, 'Disconnect').click();
  await button(view.page, 'Connect').waitFor();
  await open(view.page, 'Connection');
  await view.page.getByLabel('WebSocket address').fill('ws://127.0.0.1:1/ws');
  await button(view.page, 'Connect').click();
  await view.page.locator('#log article.note.error', { hasText: 'could not be opened' }).waitFor();
  await view.close();
});

test('the snippets name this broker', () => visit({}, async page => {
  await connected(page);
  await open(page, 'Connect your own client');
  await page.locator('#snippets pre', { hasText: broker.socket }).waitFor();
  await page.locator('#snippets').scrollIntoViewIfNeeded();
  await shot(page, 'page-snippets');
}));

test('heart-beats share one faint line and are counted both ways', () => visit({}, async page => {
  await connected(page);
  await button(page, 'Disconnect').click();
  await button(page, 'Connect').waitFor();
  await open(page, 'Connection');
  await page.locator('#connect [name=beat]').fill('200,200');
  await button(page, 'Connect').click();
  await connected(page);
  await button(page, 'Clear').click();
  // The broker may want a longer interval than we offer; whichever it is, both sides beat in the end.
  await page.waitForFunction(() => /[1-9]\d* sent, [1-9]\d* received/.test(document.querySelector('#log .beats')?.textContent), null, { timeout: 30_000 });
  assert.equal(await page.locator('#log article').count(), 1);
}));

for (const version of ['1.0', '1.1']) {
  test(`a STOMP ${version} session subscribes, sends and acknowledges`, () => visit({}, async page => {
    const queue = `/queue/browser-check-${version}-${process.pid}-${Date.now()}`;
    await connected(page);
    await button(page, 'Disconnect').click();
    await button(page, 'Connect').waitFor();
    await open(page, 'Connection');
    await page.locator('#connect [name=versions]').selectOption(version);
    await button(page, 'Connect').click();
    await page.locator('#state', { hasText: `connected, STOMP ${version}` }).waitFor();
    await page.locator('#subscribe [name=destination]').fill(queue);
    await open(page, 'Acknowledgement');
    await page.locator('[name=ack]').selectOption('client');
    await button(page, 'Subscribe').click();
    await page.locator('#send [name=destination]').fill(queue);
    await button(page, 'Send').click();
    await button(page, 'Ack').waitFor();
    assert.equal(await button(page, 'Nack').count(), version === '1.0' ? 0 : 1);  // 1.0 has no NACK
    await button(page, 'Ack').click();
    await button(page, 'Disconnect').click();
    await page.locator('#log article.note', { hasText: 'Closed: 100' }).last().waitFor();
    assert.equal(await page.locator('#log article.error').count(), 0);
  }));
}
