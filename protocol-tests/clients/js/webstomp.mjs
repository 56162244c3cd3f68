// webstomp-client 1.2.6: an offspring of stompjs 2 that speaks STOMP 1.2 if the server chooses v12.stomp.
import { legacyLink, message } from './stompjs-2.mjs';

export const library = {
  module: 'webstomp-client',
  scripts: ['webstomp-client/dist/webstomp.js'],
  global: 'webstomp',
};
export const version = '1.2';
export const resubscribes = false;
export const binaryMessages = { binary: true };
export const missing = {
  binary: 'it takes strings only, and splits what it reads at every NUL',
  split: 'no such option: it always cuts frames at 16 Ki characters, as in the row above',
};

export function open(webstomp, url, seen, options) {
  return new Promise((resolve) => {
    const client = webstomp.client(url, options);
    const link = legacyLink(client, () => open(webstomp, url, seen, options));
    link.send = (destination, body, headers) => client.send(destination, body, headers);
    client.debug = (text) => seen.log(text);
    client.onreceive = (frame) => seen.message(message(frame));
    client.connect({}, (frame) => resolve({ ...link, connected: frame.headers }), link.onError(seen));
  });
}
