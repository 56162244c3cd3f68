"""Scenarios of our relay in front of a real broker. Called by `run`."""

import asyncio
import json
import os
import signal
import sys
import time
import traceback

import sharing
from brokers import BROKERS, Edge, fresh
from wire import Browser, Closed, Tcp, frame, page

SCENARIOS = []


def scenario(function):
    SCENARIOS.append(function)
    return function


class Stage:
    """A broker behind, a relay that tells its clients of a loss, and one that keeps them."""

    def __init__(self, kind, folder):
        base = int(os.environ.get("PORT_BASE", "20140"))
        self.folder = fresh(folder)
        self.broker = BROKERS[kind](self.folder, base)
        # Brokers bear silence of twice that: on a slow machine a process may not run for a second.
        beats = ("relay.heart_beat=2s,2s", "user.send=any", "relay.retry_longest=500ms")
        upstream = f"127.0.0.1:{base + 10},127.0.0.1:{self.broker.port}"
        self.edge = Edge("edge", self.folder, base + 4, upstream, *beats)
        self.keeping = Edge("keeping", self.folder, base + 6, upstream, *beats, "relay.keep_sessions=2m")
        self.number = 0

    async def start(self):
        await self.broker.start()
        for edge in (self.edge, self.keeping):
            await edge.start()
            await self.ready(edge, 200)

    async def ready(self, edge, status):
        while (await page(edge.web, "/ready"))[0] != status:
            await asyncio.sleep(0.05)

    def close(self):
        for process in (self.edge, self.keeping):
            process.stop()
        self.broker.close()

    def name(self):
        """A destination that no other scenario has."""
        self.number += 1
        return f"relaytest.{os.getpid()}.{self.number}"

    async def browser(self, edge=None, version="1.2", **headers):
        browser = await Browser.open((edge or self.edge).web)
        await browser.connect(version, **headers)
        return browser

    async def counts(self, edge):
        return (await page(edge.web, "/stats"))[1]["relay"]

    async def counted(self, edge, name, least):
        """Waits until that much has been counted; all counts."""
        while (counts := await self.counts(edge))[name] < least:
            await asyncio.sleep(0.05)
        return counts


async def subscribe(client, destination, **headers):
    headers = {"id": "0", **headers}
    receipt = f"s{headers['id']}"
    await client.ask(frame("SUBSCRIBE", destination=destination, receipt=receipt, **headers), receipt)


@scenario
async def available_by_the_second_address(stage):
    status, health = await page(stage.edge.web, "/health")
    assert (status, health["broker"]) == (200, "available"), health
    counts = await stage.counts(stage.edge)
    assert f"127.0.0.1:{stage.broker.port} (available)" in counts["summary"], counts


@scenario
async def topics_headers_and_versions(stage):
    topic = f"/topic/{stage.name()}"
    receivers = [await stage.browser(version=version) for version in ("1.0", "1.1", "1.2")]
    for receiver in receivers:
        await subscribe(receiver, topic)
    program = await Tcp.open(stage.edge.tcp)
    connected = await program.connect("1.0,1.1,1.2")
    assert connected["version"] == "1.2" and connected["user-name"] == "web" and connected["heart-beat"] == "10000,10000", connected
    body = "é\0한".encode()
    octets = b"SEND\ndestination:" + topic.encode() + b"\nk:v\nx:a\\cb\ncontent-length:%d\n\n" % len(body) + body + b"\0"
    await program.send(octets)
    for receiver, shown in zip(receivers, ("a:b", "a\\cb", "a\\cb")):
        message = await receiver.expect("MESSAGE", destination=topic, k="v")
        # What 1.0 cannot escape is the broker's own to decide.
        assert message.body == body and (receiver is receivers[0] or message["x"] == shown), message


@scenario
async def what_is_said_before_connected_is_not_lost(stage):
    topic = f"/topic/{stage.name()}"
    browser = await Browser.open(stage.edge.web)
    await browser.send(
        frame("CONNECT", accept_version="1.2", login="web", heart_beat="0,0")
        + frame("SUBSCRIBE", id="0", destination=topic, receipt="s")
    )
    await browser.expect("CONNECTED")
    await browser.expect("RECEIPT", receipt_id="s")
    await browser.send(frame("SEND", "early", destination=topic))
    assert (await browser.expect("MESSAGE")).body == b"early"


@scenario
async def acknowledgements_and_transactions(stage):
    queue = f"/queue/{stage.name()}"
    sender, reader = await stage.browser(), await stage.browser()
    await sender.send(frame("BEGIN", transaction="t"))
    for number in range(3):
        await sender.send(frame("SEND", str(number), destination=queue, transaction="t"))
    await sender.ask(frame("COMMIT", transaction="t", receipt="c"), "c")
    await subscribe(reader, queue, ack="client-individual")
    for number in range(3):
        message = await reader.expect("MESSAGE")
        assert message.body == str(number).encode(), message
        if number < 2:
            await reader.ask(frame("ACK", id=message["ack"], receipt=f"a{number}"), f"a{number}")
    reader.drop()
    again = await stage.browser()
    await subscribe(again, queue, ack="client-individual")
    message = await again.expect("MESSAGE", redelivered="true")
    assert message.body == b"2", message
    await again.ask(frame("ACK", id=message["ack"], receipt="a"), "a")


@scenario
async def users_are_reached_through_the_broker(stage):
    mine, other, sender = [await stage.browser(login=login) for login in ("ann", "ann", "bob")]
    for browser in (mine, other):
        await subscribe(browser, stage.broker.user)
    to = stage.broker.user.replace("/user/", "/user/ann/", 1)
    await sender.ask(frame("SEND", "P1", destination=to, receipt="r", k="v"), "r")
    for browser in (mine, other):
        message = await browser.expect("MESSAGE", destination=stage.broker.user, k="v")
        assert message.body == b"P1" and message["simpOrigDestination"] is None, message
    intruder = await stage.browser(login="eve")
    await intruder.send(frame("SUBSCRIBE", id="0", destination="/queue/*"))
    await intruder.expect("ERROR", code="not-owner")


@scenario
async def a_broadcast_of_unknown_users_is_resolved(stage):
    base = stage.edge.web + 4
    edge = Edge("second", stage.folder, base, f"127.0.0.1:{stage.broker.port}", "relay.user_broadcast=/topic/unresolved", "user.send=any")
    away = Edge("third", stage.folder, base - 2, f"127.0.0.1:{stage.broker.port}", "relay.user_broadcast=/topic/unresolved", "user.send=any")
    stage.keeping.stop()
    try:
        for started in (edge, away):
            await started.start()
            await stage.ready(started, 200)
        ann, bob = await stage.browser(edge, login="ann"), await stage.browser(away, login="bob")
        await subscribe(ann, stage.broker.user)
        to = stage.broker.user.replace("/user/", "/user/ann/", 1)
        # The subscription of the other edge may still be on its way.
        for number in range(100):
            await bob.send(frame("SEND", "far", destination=to))
            try:
                message = await ann.receive(wait=0.3)
                break
            except asyncio.TimeoutError:
                continue
        assert (message.command, message.body, message["destination"]) == ("MESSAGE", b"far", stage.broker.user), message
    finally:
        edge.stop()
        away.stop()
        await stage.keeping.start()
        await stage.ready(stage.keeping, 200)


@scenario
async def disconnect_with_a_receipt_ends_without_an_error(stage):
    browser = await stage.browser()
    await browser.send(frame("DISCONNECT", receipt="bye"))
    await browser.expect("RECEIPT", receipt_id="bye")
    try:
        assert False, await browser.receive()
    except Closed:
        assert browser.code == 1000, browser.code


@scenario
async def an_error_of_the_broker_passes_and_ends_the_session(stage):
    browser = await stage.browser()
    if stage.broker.refused:
        await browser.send(frame("SUBSCRIBE", id="0", destination=stage.broker.refused))
    else:
        await browser.send(frame("ACK", id="unknown"))
    error = await browser.expect("ERROR")
    assert error["message"] and not error["code"], error
    assert await browser.closed() == 1002


@scenario
async def heart_beats_end_on_each_side(stage):
    """The broker is promised a beat every two seconds; clients promise nothing, or only send, or beat on their own."""
    topic = f"/topic/{stage.name()}"
    idle = await stage.browser()
    busy = await Browser.open(stage.edge.web)
    await busy.connect(heart_beat="4000,4000")
    # An ActiveMQ that hears nothing looks twice, after four seconds each.
    end = time.monotonic() + 10
    while time.monotonic() < end:
        # No line feed ever: only what the application sends.
        await busy.send(frame("SEND", "x", destination=topic))
        await asyncio.sleep(0.5)
    for client in (idle, busy):
        await subscribe(client, topic, id="9")
        await client.send(frame("SEND", "alive", destination=topic))
        while (await client.until("MESSAGE")).body != b"alive":
            pass


@scenario
async def a_slow_browser_slows_nobody_else(stage):
    topic = f"/topic/{stage.name()}"
    slow, fast, sender = [await stage.browser() for _ in range(3)]
    await subscribe(slow, topic)
    await subscribe(fast, topic)
    slow.task.cancel()
    slow.writer.transport.pause_reading()
    body = "x" * 10_000
    for number in range(1_500):
        await sender.send(frame("SEND", f"{number} {body}", destination=topic))
    for number in range(1_500):
        message = await fast.expect("MESSAGE")
        assert message.body.startswith(b"%d " % number), number
    slow.drop()


async def load(client, topic, sent):
    """Sends until it cannot."""
    try:
        while True:
            sent[0] += 1
            await client.send(frame("SEND", str(sent[0]), destination=topic))
            await asyncio.sleep(0.001)
    except (ConnectionError, Closed):
        pass


@scenario
async def a_broker_that_is_killed_under_load_is_told(stage):
    topic = f"/topic/{stage.name()}"
    readers = [await stage.browser() for _ in range(20)]
    for reader in readers:
        await subscribe(reader, topic)
    senders = [await Tcp.open(stage.edge.tcp) for _ in range(3)]
    for sender in senders:
        await sender.connect()
    sent = [0]
    loads = [asyncio.create_task(load(sender, topic, sent)) for sender in senders]
    for _ in range(300):
        await readers[0].expect("MESSAGE")
    stage.broker.kill()
    for reader in readers:
        while (got := await reader.receive()).command != "ERROR":
            pass
        texts = ("Connection to broker closed.", "Transport failure", "failed to forward")
        assert got["message"].startswith(texts), got
        assert await reader.closed() == 1002
    for task in loads:
        task.cancel()
    await stage.ready(stage.edge, 503)
    early = await Browser.open(stage.edge.web)
    await early.send(frame("CONNECT", accept_version="1.2"))
    await early.expect("ERROR", message="Broker not available.")
    assert await early.closed() == 1002
    begin = time.monotonic()
    await stage.broker.start()
    up = time.monotonic()
    await stage.ready(stage.edge, 200)
    back = await stage.browser()
    await subscribe(back, topic)
    return f"{sent[0]} sent; the broker was up after {up - begin:.1f} s and found {time.monotonic() - up:.1f} s later"


async def status(client, wanted):
    while True:
        got = await client.receive()
        assert got.command in ("MESSAGE", "RECEIPT"), got
        if got["destination"] == "/relay/status":
            told = json.loads(got.body)
            assert told["broker"] == wanted, told
            return told


@scenario
async def clients_are_kept_when_the_broker_is_killed_under_load(stage):
    topic, queue = f"/topic/{stage.name()}", f"/queue/{stage.name()}"
    readers = [await stage.browser(stage.keeping) for _ in range(30)]
    for reader in readers:
        await subscribe(reader, "/relay/status", id="s")
        await subscribe(reader, topic)
    worker = await stage.browser(stage.keeping)
    await subscribe(worker, "/relay/status", id="s")
    await subscribe(worker, queue, ack="client-individual", durable="true", **{"auto_delete": "false"})
    await worker.ask(frame("SEND", "kept", destination=queue, persistent="true", receipt="k"), "k")
    delivered = await worker.until("MESSAGE")
    await worker.send(frame("BEGIN", transaction="t") + frame("SEND", "never", destination=queue, transaction="t"))
    senders = [await Tcp.open(stage.keeping.tcp) for _ in range(3)]
    for sender in senders:
        await sender.connect()
    sent = [0]
    loads = [asyncio.create_task(load(sender, topic, sent)) for sender in senders]
    for _ in range(300):
        await readers[0].until("MESSAGE")
    late = await stage.browser(stage.keeping)
    await subscribe(late, "/relay/status", id="s")
    before = await stage.counts(stage.keeping)
    stage.broker.kill()
    begin = time.monotonic()
    told = await status(worker, "lost")
    assert told["lost_transactions"] == ["t"], told
    for reader in (*readers, late):
        await status(reader, "lost")
    for task in loads:
        task.cancel()
    await late.send(frame("SEND", "meanwhile", destination=queue, persistent="true", receipt="m"))
    await stage.broker.start()
    for reader in readers:
        await status(reader, "back")
    await status(worker, "back")
    seconds = time.monotonic() - begin
    # What was sent meanwhile is there, and its RECEIPT too.
    await late.until("RECEIPT", receipt_id="m")
    bodies = {}
    while set(bodies) != {b"kept", b"meanwhile"}:
        message = await worker.until("MESSAGE")
        assert message["ack"].startswith("~1~"), message
        bodies[message.body] = message
    # Whether it says `redelivered` is the broker's: ActiveMQ forgets it with its process.
    # An acknowledgement of the old delivery means nothing any more, and harms nobody.
    await worker.send(frame("ACK", id=delivered["ack"]))
    for number, message in enumerate(bodies.values()):
        await worker.ask(frame("ACK", id=message["ack"], receipt=f"a{number}"), f"a{number}")
    fresh_sender = await stage.browser(stage.keeping)
    await fresh_sender.send(frame("SEND", "fresh", destination=topic))
    for reader in readers:
        while (await reader.until("MESSAGE")).body != b"fresh":
            pass
    await worker.send(frame("COMMIT", transaction="t", receipt="c"))
    await worker.expect("ERROR", code="broker-lost-transaction", receipt_id="c")
    # The senders have nothing to hear: theirs are the last that may still be on their way back.
    kept = len(readers) + len(senders) + len((worker, late))
    after = await stage.counted(stage.keeping, "resumed", before["resumed"] + kept)
    assert after["told"] == before["told"], (before, after)
    return f"{kept} clients kept over {seconds:.1f} s"


@scenario
async def whoever_waits_for_a_receipt_is_told(stage):
    queue = f"/queue/{stage.name()}"
    sender = await stage.browser(stage.keeping)
    stop = asyncio.Event()

    async def flood():
        number = 0
        while not stop.is_set():
            number += 1
            await sender.send(frame("SEND", "x" * 2_000, destination=queue, receipt=str(number), persistent="true"))

    flooding = asyncio.create_task(flood())
    for _ in range(50):
        await sender.expect("RECEIPT")
    # What a broker that is only killed has just taken may all be confirmed: this one is stopped first, and what goes to it
    # now is not.
    stage.broker.signal(signal.SIGSTOP)
    passed = (await stage.counts(stage.keeping))["frames_to_broker"]
    await stage.counted(stage.keeping, "frames_to_broker", passed + 1)
    stage.broker.kill()
    try:
        while (got := await sender.receive()).command != "ERROR":
            pass
    finally:
        stop.set()
        flooding.cancel()
    assert got["code"] == "broker-lost-receipt" and got["receipt-id"], got
    await stage.broker.start()


@scenario
async def a_connect_waits_for_a_kept_clients_broker(stage):
    topic = f"/topic/{stage.name()}"
    stage.broker.stop()
    await stage.ready(stage.keeping, 503)
    browser = await Browser.open(stage.keeping.web)
    await browser.send(
        frame("CONNECT", accept_version="1.2", login="web", heart_beat="0,0")
        + frame("SUBSCRIBE", id="0", destination=topic, receipt="s")
        + frame("SEND", "waited", destination=topic)
    )
    await stage.broker.start()
    await browser.expect("CONNECTED")
    message = await browser.until("MESSAGE")
    assert message.body == b"waited", message


for shared in sharing.SCENARIOS:
    scenario(shared)


@scenario
async def nothing_is_left_at_the_end(stage):
    """All clients of the scenarios have gone or go now; the relays know nobody."""
    for edge in (stage.edge, stage.keeping):
        browser = await stage.browser(edge)
        browser.drop()
    for task in asyncio.all_tasks():
        if getattr(task.get_coro(), "__qualname__", "") == "Client._read":
            task.cancel()
    for writer in list(OPEN):
        writer.transport.abort()
    for edge in (stage.edge, stage.keeping):
        while (counts := await stage.counts(edge))["sessions"] or counts["users"]:
            await asyncio.sleep(0.1)


# Every connection, for the last scenario.
OPEN = []
_open_connection = asyncio.open_connection


async def _remembered(*arguments, **named):
    reader, writer = await _open_connection(*arguments, **named)
    OPEN.append(writer)
    return reader, writer


asyncio.open_connection = _remembered


async def played(function, stage):
    """Each begins with a broker that both relays have found."""
    for edge in (stage.edge, stage.keeping):
        await stage.ready(edge, 200)
    return await function(stage)


async def main(kind, folder, only):
    stage = Stage(kind, folder)
    failed = 0
    own = asyncio.current_task()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, own.cancel)
    try:
        await stage.start()
        for function in SCENARIOS:
            if only not in function.__name__:
                continue
            begin = time.monotonic()
            try:
                note = await asyncio.wait_for(played(function, stage), 180)
                outcome = "passed"
            except Exception:  # the next scenarios still say something
                failed += 1
                outcome, note = "FAILED", traceback.format_exc()
            name = function.__name__.replace("_", " ")
            print(f"  {kind:9} {outcome:7} {time.monotonic() - begin:6.1f} s  {name}{': ' + note if note else ''}", flush=True)
    finally:
        stage.close()
    if failed:
        print(f"what the processes said: {folder}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:4])))
