// Serves /app/stock and /app/orders/*, and asks them as a page would: one run, both sides.
import { Client } from '@stomp/stompjs';
import { WebSocket } from 'ws';

Object.assign(globalThis, { WebSocket });  // Node has one of its own from version 22 on

const brokerURL = process.env.BROKER ?? 'ws://127.0.0.1:15674/ws';

function connect(login) {
  return new Promise((connected, refused) => {
    const client = new Client({
      brokerURL,
      connectHeaders: { login, passcode: `${login}-secret` },
      reconnectDelay: 0,
      onConnect: () => connected(client),
      onStompError: frame => refused(new Error(`${frame.headers.message}: ${frame.body}`)),
      onWebSocketError: () => refused(new Error(`no broker at ${brokerURL}`)),
    });
    client.activate();
  });
}

// Resolves when the subscription is there, not only asked for.
function subscribe(client, destination, take, headers = {}) {
  return new Promise(done => {
    const receipt = `subscribed to ${destination}`;
    client.watchForReceipt(receipt, done);
    client.subscribe(destination, take, { ...headers, receipt });
  });
}

// What is acknowledged only when it is done goes to another worker if this one dies.
const byOne = { ack: 'client-individual' };

async function work() {
  const stock = { saddles: 3, reins: 0 };
  const client = await connect('desk');
  const answer = (request, value, headers = {}) => {
    const { 'reply-to': destination, 'correlation-id': id } = request.headers;
    if (id) headers['correlation-id'] = id;
    client.publish({ destination, headers: { ...headers, 'content-type': 'application/json' }, body: JSON.stringify(value) });
    request.ack();
  };
  await subscribe(client, '/worker/stock', request => answer(request, stock), byOne);
  await subscribe(client, '/worker/orders/*', request => {
    const thing = request.headers.destination.slice('/app/orders/'.length);
    // `user` is the broker's word: the client cannot forge it.
    console.log(`desk: ${request.headers.user} orders ${thing}`);
    if (!stock[thing]) return answer(request, `no ${thing} left`, { 'x-app-error': 'sold-out' });
    stock[thing] -= 1;
    answer(request, `${thing} for ${request.headers.user}`);
  }, byOne);
  return client;
}

async function ask() {
  const client = await connect('joe');
  // A SUBSCRIBE to an application destination is a request: one message comes, and the subscription is over.
  const request = destination => new Promise((answered, refused) => {
    client.subscribe(destination, ({ headers, body }) => {
      // Without a worker, or if it gives up or takes too long, the broker answers.
      if (headers['x-app-error']) return refused(new Error(`${headers['x-app-error']}: ${body}`));
      answered(JSON.parse(body));
    });
  });
  const waiting = [];
  await subscribe(client, '/user/queue/replies', ({ headers, body }) => {
    waiting.shift()(headers['x-app-error'] ? `${headers['x-app-error']}: ${JSON.parse(body)}` : JSON.parse(body));
  });
  const order = thing => new Promise(answered => {
    waiting.push(answered);
    client.publish({ destination: `/app/orders/${thing}`, headers: { user: 'somebody else' } });
  });

  console.log('joe: stock', await request('/app/stock'));
  console.log('joe:', await order('saddles'));
  console.log('joe:', await order('reins'));
  console.log('joe: stock', await request('/app/stock'));
  return client;
}

const worker = await work();
const client = await ask();
await Promise.all([worker.deactivate(), client.deactivate()]);
