// Runs examples/app-node as its README says, against our binary on free ports, and compares what it prints.
import { strict as assert } from 'node:assert';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { ours } from './broker.mjs';

const folder = new URL('../../examples/app-node/', import.meta.url).pathname;
const readme = readFileSync(`${folder}README.md`, 'utf8');
const promised = readme.split('```text\n')[1].split('```')[0];

const logs = process.env.CLIENT_LOGS ?? '.';
const broker = await ours(process.env.HOOFBEAT_BIN, `${logs}/app-example.log`, ['--config', `${folder}hoofbeat.toml`]);
try {
  const env = { ...process.env, BROKER: broker.url, NO_COLOR: '1' };
  const { stdout } = await promisify(execFile)('node', ['app.js'], { cwd: folder, env, timeout: 60_000 });
  assert.equal(stdout, promised);
  console.log('examples/app-node prints what its README says');
} finally {
  await broker.stop();
}
process.exit(0);
