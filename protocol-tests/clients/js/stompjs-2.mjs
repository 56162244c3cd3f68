// stompjs 2.3.3 (also published as stomp-websocket): code of 2014 that still has a seventh of the users.
import { reopen } from './scenarios.mjs';

export const library = { module: 'stompjs/lib/stomp.js', scripts: ['stompjs/lib/stomp.js'], global: 'window' };
export const version = '1.1';
export const resubscribes = false;
export const missing = {
  binary: 'it takes strings only, and splits what it reads at every NUL',
  kind: 'it sends text messages only',
  split: 'no such option: it always cuts frames at 16 Ki characters, as in the row above',
};

export function open({ Stomp }, url, seen) {
  // Its browser half knows only window's timers.
  Stomp.setInterval = (interval, tick) => setInterval(tick, interval);
  Stomp.clearInterval = (timer) => clearInterval(timer);

  return new Promise((resolve) => {
    const client = Stomp.client(url);
    const link = legacyLink(client, () => open({ Stomp }, url, seen));
    link.send = (destination, body, headers) => client.send(destination, { ...headers }, body);
    client.debug = (text) => seen.log(text);
    client.onreceive = (frame) => seen.message(message(frame));
    client.connect({}, (frame) => resolve({ ...link, connected: frame.headers }), link.onError(seen));
  });
}

/** What stompjs 2 and webstomp-client, its offspring, have in common. */
export function legacyLink(client, openAnew) {
  const receipts = new Map();
  client.onreceipt = (frame) => receipts.get(frame.headers['receipt-id'])?.(frame);
  let lost;
  const closed = new Promise((resolve) => (lost = resolve));
  return {
    subscribe: (destination, headers, got) =>
      client.subscribe(destination, (frame) => got(message(frame)), { ...headers }),
    begin: () => client.begin(),
    receipt: (id) => new Promise((came) => receipts.set(id, came)),
    // It does not reconnect: its users connect anew when the error callback tells them of the loss.
    back: () => closed.then(() => reopen(openAnew)),
    close: () => new Promise((done) => (client.connected ? client.disconnect(done) : done())),
    // One callback for both: ERROR frames and the loss of the connection.
    onError: (seen) => (what) => {
      if (what.command === 'ERROR') return seen.error(what.headers);
      lost();
      return seen.closed();
    },
  };
}

export const message = (frame) => ({
  headers: frame.headers,
  text: () => frame.body,
  ack: () => frame.ack(),
  nack: () => frame.nack(),
});
