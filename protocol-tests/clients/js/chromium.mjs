// Runs scenarios of one JavaScript client in a page of headless Chromium: chromium.mjs '{"client":…,"adapter":…,…}'
//
// It speaks the browser's own debugging protocol: test frameworks make every page believe that it is in front ("focus
// emulation"), and the hidden tab has to be a hidden one.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import WebSocket from 'ws';

const job = JSON.parse(process.argv[2]);
const root = new URL('..', import.meta.url).pathname;
const types = { '.mjs': 'text/javascript', '.js': 'text/javascript', '.json': 'application/json', '.html': 'text/html' };

const pages = await serve();
const profile = mkdtempSync(join(tmpdir(), 'hoofbeat-chromium-'));
const flags = [
  '--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync',
  '--disable-background-networking --disable-component-update --remote-debugging-port=0',
];
const chromium = spawn(process.env.CHROMIUM ?? '/usr/bin/chromium', [
  ...flags.join(' ').split(' '),
  `--user-data-dir=${profile}`,
  'about:blank',
]);
process.on('SIGTERM', () => finish(1));

const browser = await connect(await debuggingAddress(chromium.stderr));
const tab = await browser.open('about:blank');
await browser.call('Runtime.enable', {}, tab);
await browser.call('Runtime.addBinding', { name: 'tell' }, tab);
browser.on('Runtime.bindingCalled', ({ payload }) => told(JSON.parse(payload)));
browser.on('Runtime.exceptionThrown', ({ exceptionDetails: { text, exception } }) =>
  console.error(`page: ${text} ${exception?.description ?? ''}`),
);
await browser.call('Page.navigate', { url: `${pages}/js/page.html` }, tab);

/** What the page tells us: see page.html. */
async function told({ log, report, hide, ready, end }) {
  if (ready) await browser.run(`start(${JSON.stringify(job)})`, tab);
  if (log) console.error(log);
  if (report) console.log(JSON.stringify({ client: job.client, ...report }));
  if (hide) await hideFor(hide);
  if (end) await finish(0);
}

/** Ends the browser first: while any of its processes lives, its profile comes back. */
async function finish(code) {
  const ended = new Promise((resolve) => chromium.once('exit', resolve));
  chromium.kill();
  await ended;
  rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  process.exit(code);
}

/** Puts another tab in front; from then on the page's timers run once a minute (throttle.mjs). */
async function hideFor(seconds) {
  await browser.call('Target.activateTarget', { targetId: (await browser.open('about:blank')).targetId });
  const state = await browser.run('document.visibilityState', tab);
  if (state !== 'hidden') console.error(`the page is ${state} behind another tab`);
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  await browser.run('shown()', tab);
}

/** Serves this folder, and the libraries in node_modules, to the page. */
function serve() {
  const server = createServer(({ url }, answer) => {
    const file = join(root, new URL(url, 'http://localhost').pathname);
    if (!file.startsWith(root) || !existsSync(file)) return answer.writeHead(404).end();
    answer.setHeader('content-type', types[extname(file)] ?? 'application/octet-stream');
    return answer.end(readFileSync(file));
  });
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${server.address().port}`));
  });
}

function debuggingAddress(output) {
  return new Promise((resolve) => {
    let text = '';
    output.on('data', (piece) => {
      text += piece;
      const address = /DevTools listening on (ws:\S+)/.exec(text);
      if (address) resolve(address[1]);
    });
  });
}

/** A connection to the browser's debugging port: calls, events, tabs. */
async function connect(address) {
  const socket = new WebSocket(address);
  await new Promise((resolve, reject) => socket.on('open', resolve).on('error', reject));
  const waiting = new Map();
  const listeners = new Map();
  let last = 0;

  socket.on('message', (text) => {
    const { id, method, params, result, error } = JSON.parse(text);
    if (method) listeners.get(method)?.(params);
    else if (error) waiting.get(id).reject(new Error(error.message));
    else waiting.get(id).resolve(result);
    waiting.delete(id);
  });
  const call = (method, params, { sessionId } = {}) =>
    new Promise((resolve, reject) => {
      last += 1;
      waiting.set(last, { resolve, reject });
      socket.send(JSON.stringify({ id: last, method, params, sessionId }));
    });
  return {
    call,
    on: (method, listener) => listeners.set(method, listener),
    run: async (expression, tab) => (await call('Runtime.evaluate', { expression, returnByValue: true }, tab)).result.value,
    open: async (url) => {
      const { targetId } = await call('Target.createTarget', { url });
      const { sessionId } = await call('Target.attachToTarget', { targetId, flatten: true });
      return { targetId, sessionId };
    },
  };
}
