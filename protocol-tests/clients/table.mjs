// The table: one line per scenario, one column per client, and a numbered note wherever a cell needs words.
import { readFileSync } from 'node:fs';

export function asText(scenarios, cells) {
  const { lines, notes } = layout(scenarios, cells, { absent: '-' });
  const widths = lines[0].map((_, column) => Math.max(...lines.map((line) => width(line[column]))));
  const padded = lines.map((line) => line.map((cell, at) => cell + ' '.repeat(widths[at] - width(cell))).join('  '));
  return [...padded, '', '- not in the client', ...notes.map((text, at) => `(${at + 1}) ${text}`), ''].join('\n');
}

export function asMarkdown(scenarios, cells, broker) {
  const { lines, notes } = layout(scenarios, cells, { absent: 'not in the client' });
  const rows = lines.map((line) => `| ${line.join(' | ')} |`);
  rows.splice(1, 0, `|${' --- |'.repeat(lines[0].length)}`);
  return [
    '# Real clients',
    '',
    `Every client with its default settings, against ${broker.name} with its own. Made by \`protocol-tests/clients/run --markdown\`;`,
    'what each scenario asks is in [the suite](../protocol-tests/clients/README.md).',
    '',
    `Versions: ${versions().join(', ')}.`,
    '',
    ...rows,
    '',
    ...notes.map((text, at) => `${at + 1}. ${text}`),
    '',
  ].join('\n');
}

function layout(scenarios, cells, words) {
  const notes = [];
  const cell = (client, scenario) => {
    const { result, detail } = cells.get(client)[scenario];
    const word = words[result] ?? result;
    if (!detail) return word;
    if (!notes.includes(detail)) notes.push(detail);
    return `${word} (${notes.indexOf(detail) + 1})`;
  };
  const names = [...cells.keys()];
  const lines = Object.entries(scenarios).map(([scenario, { title }]) => [title, ...names.map((name) => cell(name, scenario))]);
  return { lines: [['', ...names], ...lines], notes };
}

/** What the lock files pin, where it is a STOMP library. */
function versions() {
  const read = (file) => readFileSync(file, 'utf8');
  const node = Object.entries(JSON.parse(read('package.json')).dependencies).map((entry) => entry.join(' '));
  const python = read('requirements.txt').trim().split('\n').map((line) => line.replace('==', ' '));
  const [, go] = /^require \S+\/stomp\/v3 v(\S+)/m.exec(read('go/go.mod'));
  return [...node, ...python, `go-stomp ${go}`].filter((library) => /stomp/.test(library));
}

/** Columns on a terminal: Hangul takes two. */
function width(text) {
  return [...text].reduce((sum, letter) => sum + (/\p{Script=Hangul}/u.test(letter) ? 2 : 1), 0);
}
