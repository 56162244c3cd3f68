// @stomp/rx-stomp: stompjs behind observables. It restores its subscriptions after a reconnect, and has an RPC of its own.
import { message } from './stompjs.mjs';

export const library = {
  module: '@stomp/rx-stomp',
  scripts: [
    'rxjs/dist/bundles/rxjs.umd.js',
    '@stomp/stompjs/bundles/stomp.umd.js',
    '@stomp/rx-stomp/bundles/rx-stomp.umd.js',
  ],
  global: 'RxStomp',
};
export const version = '1.2';
export const resubscribes = true;
export const binaryMessages = { forceBinaryWSFrames: true };
export const missing = {};

export async function open({ RxStomp, RxStompRPC, RxStompState }, url, seen, options) {
  const rx = new RxStomp();
  rx.configure({ brokerURL: url, ...options, debug: seen.log });
  rx.stompErrors$.subscribe((frame) => seen.error(frame.headers));
  rx.unhandledMessage$.subscribe((frame) => seen.message(message(frame)));
  rx.connectionState$.subscribe(watchFor(RxStompState.CLOSED, seen.closed));
  const rpc = new RxStompRPC(rx);

  const connected = new Promise((resolve) => rx.serverHeaders$.subscribe(resolve));
  rx.activate();
  const link = {
    connected: await connected,
    send: (destination, body, headers) =>
      rx.publish({ destination, headers, [typeof body === 'string' ? 'body' : 'binaryBody']: body }),
    subscribe: (destination, subHeaders, got) =>
      rx.watch({ destination, subHeaders }).subscribe((frame) => got(message(frame))),
    // It has no transactions of its own: its users reach through to stompjs.
    begin: () => rx.stompClient.begin(),
    receipt: (id) => rx.asyncReceipt(id),
    ask: (destination, body) =>
      new Promise((replied) => rpc.rpc({ destination, body }).subscribe((frame) => replied(frame.body))),
    back: () =>
      new Promise((again) => {
        let lost = false;
        rx.connectionState$.subscribe(watchFor(RxStompState.CLOSED, () => (lost = true)));
        rx.connectionState$.subscribe(watchFor(RxStompState.OPEN, () => lost && again(link)));
      }),
    close: () => rx.deactivate(),
  };
  return link;
}

/** Tells each arrival at a state, not the state that a subscriber finds. */
function watchFor(state, then) {
  let found = false;
  return (now) => {
    if (found && now === state) then();
    found = true;
  };
}
