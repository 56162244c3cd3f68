// Runs scenarios of one JavaScript client in Node: node.mjs '{"client":…,"adapter":…,"scenarios":[…],"url":…}'
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import WebSocket from 'ws';
import { runAll } from './scenarios.mjs';

const job = JSON.parse(process.argv[2]);
// Libraries written for browsers look for the global one, which Node has by default only since 22. They leave `onerror` alone:
// a browser then keeps a failed connection to itself, `ws` would end the program.
globalThis.WebSocket = class extends WebSocket {
  constructor(...rest) {
    super(...rest).on('error', (error) => console.error(`socket: ${error.message}`));
  }
};

const adapter = await import(`./${job.adapter}.mjs`);
const lib = createRequire(import.meta.url)(adapter.library.module);
const shared = JSON.parse(readFileSync(new URL('../scenarios.json', import.meta.url), 'utf8'));

await runAll(job.scenarios, adapter, lib, shared, {
  ...job,
  report: (line) => console.log(JSON.stringify({ client: job.client, ...line })),
  log: (text) => console.error(text.slice(0, 500)),
});
process.exit(0);
