// Serves one example to the browser: the files in its public/ folder, the STOMP library from its node_modules, and
// the broker's address. Run it in the example's folder. PORT and BROKER in the environment say otherwise than below.
import { createServer } from 'node:http';
import { readFile, readdir } from 'node:fs/promises';
import { extname } from 'node:path';

const broker = process.env.BROKER ?? 'ws://127.0.0.1:15674/ws';
const port = Number(process.env.PORT ?? 8080);

const TYPES = { '.html': 'text/html', '.css': 'text/css', '.js': 'text/javascript', '.json': 'application/json' };

// Only the files listed here can be asked for, so no path in a URL reaches the disk.
const files = new Map((await readdir('public')).map(name => [`/${name}`, `public/${name}`]));
files.set('/', 'public/index.html');
files.set('/stomp.js', 'node_modules/@stomp/stompjs/bundles/stomp.umd.min.js');

const safety = {
  'content-security-policy': `default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self' ${new URL(broker).origin}; form-action 'none'; base-uri 'none'; frame-ancestors 'none'`,
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-cache',
};

async function answer(request, response) {
  const path = request.url.split('?')[0];
  if (path === '/settings.json') return reply(response, 200, TYPES['.json'], JSON.stringify({ broker }));
  const file = files.get(path);
  if (!file) return reply(response, 404, 'text/plain', 'There is nothing here.\n');
  reply(response, 200, TYPES[extname(file)] ?? 'application/octet-stream', await readFile(file));
}

function reply(response, status, type, body) {
  response.writeHead(status, { ...safety, 'content-type': `${type}; charset=utf-8` });
  response.end(body);
}

const server = createServer((request, response) => {
  answer(request, response).catch(reason => {
    console.error(reason.message);
    reply(response, 500, 'text/plain', 'A file could not be read: has `npm install` been run?\n');
  });
});
server.listen(port, '127.0.0.1', () => {
  console.log(`Open http://127.0.0.1:${server.address().port}/ (broker: ${broker})`);
});
