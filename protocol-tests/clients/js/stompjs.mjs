// @stomp/stompjs 7: what most browsers and Node programs use.

export const library = {
  module: '@stomp/stompjs',
  scripts: ['@stomp/stompjs/bundles/stomp.umd.js'],
  global: 'StompJs',
};
export const version = '1.2';
export const resubscribes = false;
export const binaryMessages = { forceBinaryWSFrames: true };
export const missing = {};

export function open({ Client }, url, seen, options) {
  return new Promise((resolve) => {
    let connected = (frame) => resolve(link(frame));
    const client = new Client({
      brokerURL: url,
      ...options,
      debug: seen.log,
      onConnect: (frame) => connected(frame),
      onStompError: (frame) => seen.error(frame.headers),
      onUnhandledMessage: (frame) => seen.message(message(frame)),
      onWebSocketClose: seen.closed,
    });
    client.activate();

    const link = (frame) => ({
      connected: frame.headers,
      send: (destination, body, headers) =>
        client.publish({ destination, headers, [typeof body === 'string' ? 'body' : 'binaryBody']: body }),
      subscribe: (destination, headers, got) => client.subscribe(destination, (frame) => got(message(frame)), headers),
      begin: () => client.begin(),
      receipt: (id) => new Promise((came) => client.watchForReceipt(id, came)),
      back: () => new Promise((again) => (connected = (frame) => again(link(frame)))),
      close: () => client.deactivate(),
    });
  });
}

export const message = (frame) => ({
  headers: frame.headers,
  text: () => frame.body,
  bytes: () => frame.binaryBody,
  ack: () => frame.ack(),
  nack: () => frame.nack(),
});
