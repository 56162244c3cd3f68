// The scenarios of every JavaScript client, in Node and in the browser. A client's own file adapts its library to:
//
//   library               where the library is: { module } for Node, { scripts, global } for a page
//   version               the protocol version that its defaults must lead to
//   resubscribes          true if the library itself restores subscriptions after a reconnect
//   binaryMessages        the option that makes it send every frame in a binary WebSocket message
//   missing               { scenario: why the library cannot do it }
//   open(lib, url, seen, options) -> Promise<link>
//
// `seen` takes what the library shows: log(text), error(headers), message(message) for one without subscription, closed().
// A link has: connected (headers), send(destination, body, headers), subscribe(destination, headers, got) -> { unsubscribe },
// begin() -> { id, commit, abort }, receipt(id) -> Promise, back() -> Promise<link> after the connection was lost, close(),
// and, where the library has an RPC of its own, ask(destination, body) -> Promise<reply>.
// A message has: headers, text(), bytes() and, where the library has them, ack() and nack().

/** Runs the named scenarios one after the other and reports each as { scenario, result, detail }. */
export async function runAll(names, adapter, lib, shared, host) {
  for (const scenario of names) {
    if (adapter.missing[scenario]) {
      host.report({ scenario, result: 'absent', detail: adapter.missing[scenario] });
      continue;
    }
    const test = new Test(scenario, adapter, lib, shared, host);
    try {
      const detail = await within(host.limits[scenario] ?? 30, `${scenario} to end`, scenarios[scenario](test));
      host.report({ scenario, result: 'passed', detail });
    } catch (error) {
      host.report({ scenario, result: 'FAILED', detail: error.message ?? String(error) });
    }
    await test.closeAll();
  }
}

const scenarios = {
  async connect(t) {
    const link = await t.open();
    expect(link.connected.version === t.adapter.version, `version ${link.connected.version}, not ${t.adapter.version}`);
    for (const name of ['session', 'server', 'heart-beat']) expect(link.connected[name], `CONNECTED without ${name}`);
    await within(10, 'the connection to close', link.close());
  },

  async topic(t) {
    const [reader, writer] = [await t.open(), await t.open()];
    const topic = t.destination('/topic/');
    const inbox = new Inbox('MESSAGE');
    await confirmed(reader, (headers) => reader.subscribe(topic, headers, inbox.put));
    writer.send(topic, 'one', { 'x-price': '3.50' });
    writer.send(topic, 'two');
    const [one, two] = [await inbox.next(), await inbox.next()];
    expect(one.text() === 'one' && two.text() === 'two', `bodies ${one.text()}, ${two.text()}`);
    expect(one.headers['x-price'] === '3.50', `x-price: ${one.headers['x-price']}`);
    expect(one.headers.destination === topic, `destination: ${one.headers.destination}`);
  },

  async queue(t) {
    const link = await t.open();
    const queue = t.destination('/queue/');
    const inbox = new Inbox('MESSAGE');
    link.send(queue, 'first');
    const subscription = link.subscribe(queue, { ack: 'client-individual' }, inbox.put);
    const first = await inbox.next();
    expect(first.headers.redelivered !== 'true', 'redelivered:true on the first delivery');
    first.nack();
    const again = await inbox.next();
    expect(again.text() === 'first', `after the NACK came ${again.text()}`);
    expect(again.headers.redelivered === 'true', `redelivered: ${again.headers.redelivered} after the NACK`);
    again.ack();
    subscription.unsubscribe();
    link.subscribe(queue, { ack: 'auto' }, inbox.put);
    link.send(queue, 'last');
    const last = await inbox.next();
    expect(last.text() === 'last', `after the ACK came ${last.text()}`);
  },

  async transaction(t) {
    const link = await t.open();
    const queue = t.destination('/queue/');
    const inbox = new Inbox('MESSAGE');
    link.subscribe(queue, {}, inbox.put);
    const [kept, dropped] = [link.begin(), link.begin()];
    link.send(queue, 'committed 1', { transaction: kept.id });
    link.send(queue, 'aborted', { transaction: dropped.id });
    link.send(queue, 'committed 2', { transaction: kept.id });
    link.send(queue, 'outside');
    const outside = await inbox.next();
    dropped.abort();
    kept.commit();
    link.send(queue, 'end');
    const bodies = [outside];
    while (bodies.at(-1).text() !== 'end') bodies.push(await inbox.next());
    const order = bodies.map((message) => message.text()).join(', ');
    expect(order === 'outside, committed 1, committed 2, end', `came as: ${order}`);
  },

  async receipts(t) {
    const link = await t.open();
    const topic = t.destination('/topic/');
    await confirmed(link, (headers) => link.subscribe(topic, headers, () => {}));
    await confirmed(link, (headers) => link.send(topic, 'with a receipt', headers));
    const transaction = link.begin();
    await confirmed(link, (headers) => {
      link.send(topic, 'inside', { ...headers, transaction: transaction.id });
      transaction.commit();
    });
    await within(10, 'DISCONNECT to end', link.close());
  },

  async utf8(t) {
    const link = await t.open();
    const topic = t.destination('/topic/');
    const inbox = new Inbox('MESSAGE');
    link.subscribe(topic, {}, inbox.put);
    link.send(topic, t.shared.text, { 'x-greeting': t.shared.text });
    const message = await inbox.next();
    expect(message.text() === t.shared.text, `body: ${message.text()}`);
    expect(message.headers['x-greeting'] === t.shared.text, `header: ${message.headers['x-greeting']}`);
  },

  async binary(t) {
    const link = await t.open();
    const body = Uint8Array.from({ length: 1024 }, (_, at) => at % 256);
    const got = await echo(t, link, body, { 'content-type': 'application/octet-stream' });
    expect(same(got.bytes(), body), `${got.bytes().length} bytes came back, not the 1,024 that were sent`);
  },

  async kind(t) {
    const link = await t.open(t.adapter.binaryMessages);
    const got = await echo(t, link, t.shared.text);
    expect(got.text() === t.shared.text, `body: ${got.text()}`);
  },

  async large(t) {
    return largeText(t, await t.open());
  },

  async split(t) {
    return largeText(t, await t.open({ splitLargeFrames: true }));
  },

  async rpc(t) {
    const [asking, answering] = [await t.open(), await t.open()];
    const queue = t.destination('/queue/');
    answering.subscribe(queue, {}, (request) => {
      answering.send(request.headers['reply-to'], `${request.text()} pong`, {
        'correlation-id': request.headers['correlation-id'],
      });
    });
    for (const body of ['first', 'second']) {
      const reply = await within(10, 'a reply', t.ask(asking, queue, body));
      expect(reply === `${body} pong`, `reply: ${reply}`);
    }
  },

  async error(t) {
    const link = await t.open();
    link.subscribe(t.shared.unknownDestination, {}, () => {});
    const headers = await t.errors.next();
    expect(headers.message, `ERROR without message: ${JSON.stringify(headers)}`);
  },

  async heartbeat(t) {
    const link = await t.open();
    await sleep(t.host.seconds.heartbeat);
    await stillThere(t, link);
    expect(t.beats.in.length >= 2 && t.beats.out.length >= 2, `${t.beats.in.length} beats in, ${t.beats.out.length} out`);
  },

  async hidden(t) {
    const link = await t.open();
    const hiddenAt = Date.now();
    await t.host.hidden(t.host.seconds.hidden);
    const beats = [hiddenAt, ...t.beats.out, Date.now()];
    const silence = Math.max(...beats.slice(1).map((at, index) => at - beats[index])) / 1000;
    expect(silence > 45, `the tab was not throttled: it was silent for at most ${silence.toFixed(0)} s`);
    await stillThere(t, link);
  },

  async reconnect(t) {
    let link = await t.open();
    const topic = t.destination('/topic/');
    const inbox = new Inbox('MESSAGE');
    await confirmed(link, (headers) => link.subscribe(topic, headers, inbox.put));
    const back = link.back();
    t.host.report({ scenario: 'reconnect', result: 'waiting' });
    link = await back;
    const subscribe = (headers) => link.subscribe(topic, headers, inbox.put);
    if (!t.adapter.resubscribes) await confirmed(link, subscribe);
    link.send(topic, 'after the restart');
    const message = await inbox.next();
    expect(message.text() === 'after the restart', `body: ${message.text()}`);
  },
};

async function largeText(t, link) {
  // No emoji here: clients that cut frames cut them by UTF-16 units, and so break a surrogate pair for good.
  const line = 'hoofbeat 말발굽 소리 ';
  const bytes = new TextEncoder().encode(line).length;
  const body = line.repeat(Math.ceil(t.shared.largeBytes / bytes));
  const got = await echo(t, link, body);
  expect(got.text() === body, `${got.text().length} characters came back, not ${body.length}`);
}

async function echo(t, link, body, headers) {
  const topic = t.destination('/topic/');
  const inbox = new Inbox('MESSAGE');
  link.subscribe(topic, {}, inbox.put);
  link.send(topic, body, headers);
  return inbox.next();
}

async function stillThere(t, link) {
  expect(t.lost === 0, 'the connection was lost');
  await echo(t, link, 'still there');
}

async function confirmed(link, act) {
  const receipt = `confirm-${unique()}`;
  const came = link.receipt(receipt);
  const result = act({ receipt });
  await within(10, 'the RECEIPT', came);
  return result;
}

/** One run of one scenario: its connections and everything that they showed. */
class Test {
  constructor(scenario, adapter, lib, shared, host) {
    Object.assign(this, { scenario, adapter, lib, shared, host });
    this.errors = new Inbox('ERROR');
    this.unhandled = new Inbox('reply');
    this.beats = { in: [], out: [] };
    this.lost = 0;
    this.links = [];
  }

  async open(options = {}) {
    const seen = {
      log: (text) => {
        if (text.includes('<<< PONG')) this.beats.in.push(Date.now());
        if (text.includes('>>> PING')) this.beats.out.push(Date.now());
        this.host.log(`${this.scenario} ${text}`);
      },
      error: (headers) => this.errors.put(headers),
      message: (message) => this.unhandled.put(message),
      closed: () => (this.lost += 1),
    };
    const link = await within(15, 'CONNECTED', this.adapter.open(this.lib, this.host.url, seen, options));
    this.links.push(link);
    return link;
  }

  /** Sends a request and returns the body of its reply, by the library's own RPC if it has one. */
  async ask(link, destination, body) {
    if (link.ask) return link.ask(destination, body);
    link.send(destination, body, { 'reply-to': '/temp-queue/replies', 'correlation-id': unique() });
    return (await this.unhandled.next()).text();
  }

  destination(prefix) {
    return `${prefix}${this.host.client}-${this.scenario}-${unique()}`.replaceAll(' ', '');
  }

  async closeAll() {
    for (const link of this.links) await within(5, 'close', link.close()).catch(() => {});
  }
}

/** Keeps what callbacks bring until somebody asks for it. */
class Inbox {
  #held = [];
  #waiting = [];

  constructor(what) {
    this.what = what;
  }

  put = (item) => {
    const waiting = this.#waiting.shift();
    if (waiting) waiting(item);
    else this.#held.push(item);
  };

  next() {
    if (this.#held.length > 0) return Promise.resolve(this.#held.shift());
    return within(20, `a ${this.what}`, new Promise((resolve) => this.#waiting.push(resolve)));
  }
}

/** For libraries that leave reconnecting to their users: opens anew, once a second, until it works. */
export async function reopen(open) {
  for (;;) {
    await sleep(1);
    try {
      return await within(5, 'CONNECTED', open());
    } catch {
      // The broker is still away.
    }
  }
}

function within(seconds, what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${seconds} s for ${what}`)), seconds * 1000);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

function expect(truth, otherwise) {
  if (!truth) throw new Error(otherwise);
}

const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));
const unique = () => Math.random().toString(36).slice(2, 10);
const same = (one, other) => one.length === other.length && one.every((octet, at) => octet === other[at]);
