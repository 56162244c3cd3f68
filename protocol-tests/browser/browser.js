// What both checks need: a broker, a browser that watches what the pages do, and the examples' servers.
import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const FLAGS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
];

export const shot = (page, name) => page.screenshot({ path: join(process.env.SHOTS, `${name}.png`) });

// Each launch has a profile folder of its own, which goes away with it.
export const openBrowser = () => chromium.launch({ executablePath: process.env.CHROMIUM, args: FLAGS });

// A page in a window of its own, with a list of what it asked for and what it complained of.
export async function openPage(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, ...options });
  context.setDefaultTimeout(10_000);
  const page = await context.newPage();
  const asked = [], complaints = [];
  context.on('request', request => asked.push(request.url()));
  page.on('websocket', socket => asked.push(socket.url()));
  page.on('console', message => { if (['error', 'warning'].includes(message.type())) complaints.push(message.text()); });
  page.on('pageerror', error => complaints.push(String(error)));
  await page.goto(url);
  return { page, asked, complaints, close: () => context.close() };
}

// What was asked for outside the hosts given; data: addresses ask nobody.
export const strangers = (asked, ...hosts) => asked.filter(url => !url.startsWith('data:') && !hosts.includes(new URL(url).host));

export async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

// The broker under test: the one at PAGE_URL, or our binary on free ports.
export async function startBroker() {
  const given = process.env.PAGE_URL;
  return given ? { page: given, socket: socketOf(given), stop: async () => {} } : startOurs(await freePort());
}

// Our binary with WebSocket on this port. Returns the page's URL, the socket's, and a stop.
export async function startOurs(port, tcp) {
  const args = ['--ephemeral', '--websocket', `127.0.0.1:${port}`, '--tcp', `127.0.0.1:${tcp ?? await freePort()}`];
  const page = `http://127.0.0.1:${port}/`;
  const stop = await serving(page, process.env.HOOFBEAT_BIN, args);
  return { page, socket: socketOf(page), stop };
}

// A Spring Boot application on this port, with properties of its own. Returns its URL and a stop.
export async function startJar(jar, port, properties) {
  const options = Object.entries({ 'server.port': port, ...properties }).map(([name, value]) => `--${name}=${value}`);
  const url = `http://127.0.0.1:${port}/`;
  const stop = await serving(url, 'java', ['-Xmx256m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-jar', jar, ...options], 60_000);
  return { url, stop };
}

// Starts a program and waits until it answers at this URL.
async function serving(url, program, args, patience) {
  const child = spawn(program, args, { stdio: ['ignore', 'inherit', 'inherit'] });
  const stop = stopper(child);
  const failed = new Promise((_, reject) => {
    child.once('error', reject);
    child.once('exit', code => reject(new Error(`${program} ${args.join(' ')} ended with ${code}`)));
  });
  failed.catch(() => {});
  await Promise.race([failed, answering(url, patience)]);
  return stop;
}

const socketOf = page => Object.assign(new URL('ws', page), { protocol: page.startsWith('https') ? 'wss:' : 'ws:' }).href;

async function answering(url, patience = 15_000) {
  const until = Date.now() + patience;
  for (;;) {
    try {
      return await fetch(url);
    } catch (reason) {
      if (Date.now() > until) throw reason;
      await new Promise(done => setTimeout(done, 50));
    }
  }
}

// `npm start` of an example, on a free port. Ready when it prints where it serves.
export async function startExample(name, broker, environment = {}) {
  const cwd = join(import.meta.dirname, '../../examples', name);
  const child = spawn('npm', ['start', '--silent'], {
    cwd, detached: true, stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, ...environment, PORT: '0', BROKER: broker },
  });
  const stop = stopper(child, -1);
  for await (const line of createInterface({ input: child.stdout })) {
    const url = line.match(/http:\S+/)?.[0];
    if (url) {
      child.stdout.resume();  // so that the example never waits for a full pipe
      return { url, stop };
    }
  }
  throw new Error(`The example ${name} ended without serving anything`);
}

// With sign -1 the child's whole process group is told: npm starts a shell, and that the example.
function stopper(child, sign = 1) {
  const tell = signal => { try { process.kill(sign * child.pid, signal); } catch { /* it has ended already */ } };
  const atExit = () => tell('SIGKILL');
  process.once('exit', atExit);
  return async () => {
    process.off('exit', atExit);
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    tell('SIGTERM');
    await ended;
  };
}
