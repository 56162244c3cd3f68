// Runs every scenario of every client against one broker and prints the table. `run` installs what this needs.
import { spawn } from 'node:child_process';
import { createWriteStream, mkdirSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { ours, theirs } from './broker.mjs';
import { clients } from './clients.mjs';
import { asMarkdown, asText } from './table.mjs';

const { values: options } = parseArgs({
  options: {
    url: { type: 'string' },
    tcp: { type: 'string' },
    'restart-command': { type: 'string' },
    only: { type: 'string', multiple: true },
    short: { type: 'boolean' },
    long: { type: 'boolean' },
    markdown: { type: 'boolean' },
  },
});

const { scenarios } = JSON.parse(readFileSync('scenarios.json', 'utf8'));
const wanted = clients.filter(({ name }) => !options.only || options.only.some((part) => name.includes(part)));
if (wanted.length === 0) throw new Error(`--only names none of: ${clients.map(({ name }) => name).join('; ')}`);
// Heart-beats are 10 s, and the hidden tab's timers run once a minute.
const seconds = options.long ? { heartbeat: 150, hidden: 310 } : { heartbeat: 32, hidden: 100 };
const limits = { heartbeat: seconds.heartbeat + 30, hidden: seconds.hidden + 60, reconnect: 90 };

const logs = process.env.CLIENT_LOGS;
mkdirSync(logs, { recursive: true });
const cells = new Map(wanted.map(({ name }) => [name, {}]));
const note = (text) => process.stderr.write(`${text}\n`);

const foreign = options.url || options.tcp;
const broker = foreign
  ? theirs(options.url, options.tcp, options['restart-command'])
  : await ours(process.env.HOOFBEAT_BIN, `${logs}/broker.log`);
const chosen = wanted.filter(({ needs = 'url' }) => broker[needs]);
for (const { name } of wanted.filter((client) => !chosen.includes(client))) {
  skip(name, Object.keys(scenarios), 'no address for its transport: give --url and --tcp');
}
try {
  note(`${chosen.length} clients against ${broker.name}; their frames go to ${logs}`);
  await Promise.all([each('tab'), each('wait'), twoAtATime('talk')]);
  await restarted();
} finally {
  await broker.stop();
}

const all = [...cells.values()].flatMap((row) => Object.values(row));
const count = (result) => all.filter((cell) => cell.result === result).length;
note(`${count('absent')} not in the client, for the reasons under the table`);
const summary = `${count('passed')} passed, ${count('FAILED')} failed, ${count('skipped')} skipped`;
if (options.markdown) note(summary);
console.log(options.markdown ? asMarkdown(scenarios, cells, broker) : `${asText(scenarios, cells)}\n${summary}`);
process.exit(count('FAILED') > 0 ? 1 : 0);

function each(phase) {
  return Promise.all(chosen.map((client) => start(client, phase).ended));
}

/** The quick scenarios would only slow each other down if they all ran at once. */
async function twoAtATime(phase) {
  const queue = [...chosen];
  const worker = async () => {
    for (let client = queue.shift(); client; client = queue.shift()) await start(client, phase).ended;
  };
  await Promise.all([worker(), worker()]);
}

/** Every client connects, then the broker dies and comes back, then every client goes on. */
async function restarted() {
  if (!broker.restart) {
    for (const { name } of chosen) skip(name, ['reconnect'], 'not ours to restart: give --restart-command');
    return;
  }
  const runs = chosen.map((client) => start(client, 'restart'));
  await Promise.all(runs.map((run) => run.waiting));
  note('the broker dies and comes back');
  await broker.restart();
  await Promise.all(runs.map((run) => run.ended));
}

/** Starts one client for one phase. `waiting` resolves when it waits for the restart, or has ended. */
function start(client, phase) {
  const names = Object.keys(scenarios).filter((name) => scenarios[name].phase === phase);
  const [absent, todo] = [names.filter((name) => client.absent?.[name]), names.filter((name) => !client.absent?.[name])];
  for (const scenario of absent) settle(client.name, { scenario, result: 'absent', detail: client.absent[scenario] });
  if (todo.length === 0) return { waiting: Promise.resolve(), ended: Promise.resolve() };

  const [program, ...rest] = (phase === 'tab' && client.tab) || client.program;
  const { url, tcp } = broker;
  const job = { client: client.name, adapter: client.adapter, scenarios: todo, url, tcp, seconds, limits };
  const child = spawn(program, [...rest, JSON.stringify(job)]);
  child.on('error', (error) => note(`${client.name}: ${error.message}`));
  const log = `${logs}/${client.name.replaceAll(/[ ,]+/g, '-')}.${phase}.log`;
  child.stderr.pipe(createWriteStream(log));

  let nowWaiting;
  const waiting = new Promise((resolve) => (nowWaiting = resolve));
  createInterface({ input: child.stdout }).on('line', (line) => {
    const answer = JSON.parse(line);
    if (answer.result === 'waiting') nowWaiting();
    else settle(client.name, answer, log);
  });
  const longest = todo.reduce((sum, name) => sum + (limits[name] ?? 40), 0);
  const timer = setTimeout(() => child.kill('SIGTERM'), longest * 1000);
  const ended = new Promise((resolve) => child.once('close', resolve)).then(() => {
    clearTimeout(timer);
    nowWaiting();
    for (const scenario of todo.filter((name) => !cells.get(client.name)[name])) {
      settle(client.name, { scenario, result: 'FAILED', detail: 'the client ended without an answer' }, log);
    }
  });
  return { waiting, ended };
}

function settle(name, { scenario, result, detail }, log) {
  cells.get(name)[scenario] = { result, detail };
  if (result === 'FAILED') note(`FAILED  ${name}: ${scenarios[scenario].title}: ${detail} (${log})`);
}

function skip(name, names, detail) {
  note(`skipped ${name}: ${names.join(', ')}: ${detail}`);
  for (const scenario of names) settle(name, { scenario, result: 'skipped', detail });
}
