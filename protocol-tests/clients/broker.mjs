// The broker under test: ours, started here on free ports, or any other one, by its addresses.
import { execSync, spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { connect, createServer } from 'node:net';

/** Seconds between the end and the new start, so that whoever comes back at once meets a closed port. */
const AWAY = 3;

/** Starts the binary with its addresses, and nothing else unless `more` is given; restart() kills it without warning and starts it again. */
export async function ours(binary, log, more = []) {
  const [tcp, webSocket] = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`];
  const output = createWriteStream(log);
  let child;
  process.on('exit', () => child?.kill('SIGKILL'));

  const start = async () => {
    child = spawn(binary, ['--ephemeral', '--tcp', tcp, '--websocket', webSocket, ...more]);
    child.stdout.pipe(output, { end: false });
    child.stderr.pipe(output, { end: false });
    for (const address of [tcp, webSocket]) await accepting(address, child, log);
  };
  const stop = () => {
    if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    return ended;
  };
  await start();
  return { name: 'Hoofbeat', url: `ws://${webSocket}/ws`, tcp, stop, restart: () => stop().then(away).then(start) };
}

/** A broker that somebody else runs; `restartCommand` is how to restart it, if that may be done at all. */
export function theirs(url, tcp, restartCommand) {
  const restart = restartCommand && (async () => void execSync(restartCommand, { stdio: 'ignore' }));
  return { name: [url, tcp].filter(Boolean).join(' and '), url, tcp, restart, stop: async () => {} };
}

const away = () => new Promise((resolve) => setTimeout(resolve, AWAY * 1000));

async function accepting(address, child, log) {
  const [host, port] = address.split(':');
  for (let tries = 0; tries < 200; tries += 1) {
    if (child.exitCode !== null) throw new Error(`the broker ended with exit code ${child.exitCode}: see ${log}`);
    const socket = connect(port, host);
    const open = await new Promise((resolve) => {
      socket.on('connect', () => resolve(true)).on('error', () => resolve(false));
    });
    socket.destroy();
    if (open) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`the broker does not listen on ${address}: see ${log}`);
}

function freePort() {
  const server = createServer();
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}
