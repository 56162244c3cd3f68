"""Scenarios of stomp.py over TCP with protocols 1.0, 1.1 and 1.2, and over WebSocket: stomp_py.py '{"client":…,"adapter":"1.2",…}'"""

import json
import os
import queue
import sys
import time
import uuid
from urllib.parse import urlsplit

import stomp
from stomp.adapter.ws import WSStompConnection

JOB = json.loads(sys.argv[1])
PROTOCOL = JOB["adapter"]
with open(os.path.join(os.path.dirname(__file__), "..", "scenarios.json"), encoding="utf-8") as file:
    SHARED = json.load(file)

ABSENT = {
    "split": "no such option: TCP has no messages to cut, and over WebSocket it sends a frame whole",
    "hidden": "no browser, no tab",
}
if PROTOCOL != "ws":
    ABSENT["kind"] = "TCP has no messages"

NOTES = {"binary": "as its documentation says: auto_decode=False, and over WebSocket binary_mode=True"}
if PROTOCOL == "1.0":
    NOTES["queue"] = "STOMP 1.0 has no NACK: the connection ends without ACK instead"
    NOTES["heartbeat"] = "STOMP 1.0 has no heart-beats: the silent connection stays"
else:
    NOTES["heartbeat"] = "off by default in stomp.py: asked for 10 s both ways, and one connection without any stays too"


class Link(stomp.ConnectionListener):
    """A connection that keeps whatever it is told until a scenario asks for it."""

    def __init__(self, **options):
        self.messages, self.errors, self.receipts, self.greetings = (queue.Queue() for _ in range(4))
        self.beats_in, self.beats_out, self.lost = 0, 0, 0
        self.connection = new_connection(options)
        self.connection.set_listener("scenario", self)
        self.connection.connect(wait=True)
        self.connected = taken(self.greetings, "CONNECTED").headers

    def on_connected(self, frame):
        log("<<<", frame)
        self.greetings.put(frame)

    def on_message(self, frame):
        log("<<<", frame)
        self.messages.put(frame)

    def on_error(self, frame):
        log("<<<", frame)
        self.errors.put(frame)

    def on_receipt(self, frame):
        log("<<<", frame)
        self.receipts.put(frame.headers["receipt-id"])

    def on_heartbeat(self):
        self.beats_in += 1

    def on_send(self, frame):
        if frame.cmd is None:
            self.beats_out += 1
        log(">>>", frame)

    def on_disconnected(self):
        self.lost += 1

    def subscribe(self, destination, ack="auto", **headers):
        self.connection.subscribe(destination, id=f"sub-{uuid.uuid4()}", ack=ack, **headers)

    def send(self, destination, body, **headers):
        self.connection.send(destination, body, **headers)

    def message(self):
        return taken(self.messages, "a MESSAGE")

    def confirmed(self, act, *arguments, **headers):
        """Does something that asks for a receipt, and waits for it."""
        receipt = f"confirm-{uuid.uuid4()}"
        act(*arguments, receipt=receipt, **headers)
        came = taken(self.receipts, "the RECEIPT")
        expect(came == receipt, f"receipt-id {came}, not {receipt}")

    def ack(self, frame):
        self.settle(self.connection.ack, frame)

    def nack(self, frame):
        self.settle(self.connection.nack, frame)

    def settle(self, act, frame):
        if PROTOCOL == "1.0":
            act(frame.headers["message-id"])
        elif PROTOCOL == "1.1":
            act(frame.headers["message-id"], frame.headers["subscription"])
        else:
            act(frame.headers["ack"])

    def close(self):
        if self.connection.is_connected():
            self.connection.disconnect(receipt=str(uuid.uuid4()))


def new_connection(options):
    if PROTOCOL == "ws":
        url = urlsplit(JOB["url"])
        return WSStompConnection([(url.hostname, url.port)], ws_path=url.path, **options)
    host, port = JOB["tcp"].rsplit(":", 1)
    kinds = {"1.0": stomp.StompConnection10, "1.1": stomp.StompConnection11, "1.2": stomp.StompConnection12}
    return kinds[PROTOCOL]([(host, int(port))], **options)


def connect():
    link = Link()
    version = "1.2" if PROTOCOL == "ws" else PROTOCOL
    expect(link.connected.get("version", "1.0") == version, f"version {link.connected.get('version')}")
    expect(link.connected.get("session"), "CONNECTED without session")
    link.close()


def topic():
    reader, writer = Link(), Link()
    name = destination("/topic/", "topic")
    reader.confirmed(reader.subscribe, name)
    writer.send(name, "one", **{"x-price": "3.50"})
    writer.send(name, "two")
    one, two = reader.message(), reader.message()
    expect((one.body, two.body) == ("one", "two"), f"bodies {one.body}, {two.body}")
    expect(one.headers.get("x-price") == "3.50", f"x-price: {one.headers.get('x-price')}")
    expect(one.headers["destination"] == name, f"destination: {one.headers['destination']}")


def queue_():  # the name of a module without the underscore
    link = Link()
    name = destination("/queue/", "queue")
    link.send(name, "first")
    if PROTOCOL == "1.0":
        link.subscribe(name, ack="client")
        expect(link.message().body == "first", "another message")
        link.close()
        link = Link()
        link.subscribe(name, ack="client")
    else:
        link.subscribe(name, ack="client-individual")
        link.nack(link.message())
    again = link.message()
    expect(again.body == "first", f"came back: {again.body}")
    expect(again.headers.get("redelivered") == "true", f"redelivered: {again.headers.get('redelivered')}")
    link.ack(again)
    link.close()
    link = Link()
    link.subscribe(name)
    link.send(name, "last")
    last = link.message()
    expect(last.body == "last", f"after the ACK came {last.body}")


def transaction():
    link = Link()
    name = destination("/queue/", "transaction")
    link.subscribe(name)
    kept, dropped = link.connection.begin(), link.connection.begin()
    link.send(name, "committed 1", transaction=kept)
    link.send(name, "aborted", transaction=dropped)
    link.send(name, "committed 2", transaction=kept)
    link.send(name, "outside")
    bodies = [link.message().body]
    link.connection.abort(dropped)
    link.connection.commit(kept)
    link.send(name, "end")
    while bodies[-1] != "end":
        bodies.append(link.message().body)
    expect(bodies == ["outside", "committed 1", "committed 2", "end"], f"came as: {bodies}")


def receipts():
    link = Link()
    name = destination("/topic/", "receipts")
    link.confirmed(link.subscribe, name)
    link.confirmed(link.send, name, "with a receipt")
    inside = link.connection.begin()
    link.connection.send(name, "inside", transaction=inside)
    link.confirmed(link.connection.commit, inside)
    link.close()


def utf8():
    link = Link()
    name = destination("/topic/", "utf8")
    link.subscribe(name)
    link.send(name, SHARED["text"], **{"x-greeting": SHARED["text"]})
    message = link.message()
    expect(message.body == SHARED["text"], f"body: {message.body}")
    expect(message.headers.get("x-greeting") == SHARED["text"], f"header: {message.headers.get('x-greeting')}")


def binary():
    options = {"binary_mode": True} if PROTOCOL == "ws" else {}
    link = Link(auto_decode=False, **options)
    body = bytes(range(256)) * 4
    got = echo(link, "binary", body)
    expect(got == body, f"{len(got)} bytes came back, not the 1,024 that were sent")


def kind():
    got = echo(Link(binary_mode=True), "kind", SHARED["text"])
    expect(got == SHARED["text"], f"body: {got}")


def large():
    line = "hoofbeat 말발굽 소리 "
    body = line * (SHARED["largeBytes"] // len(line.encode()) + 1)
    got = echo(Link(), "large", body)
    expect(got == body, f"{len(got)} characters came back, not {len(body)}")


def rpc():
    asking, answering = Link(), Link()
    name = destination("/queue/", "rpc")
    answering.subscribe(name)
    for body in ("first", "second"):
        asking.send(name, body, **{"reply-to": "/temp-queue/replies", "correlation-id": body})
        request = answering.message()
        answering.send(request.headers["reply-to"], f"{body} pong", **{"correlation-id": body})
        reply = asking.message()
        expect(reply.body == f"{body} pong", f"reply: {reply.body}")


def error():
    link = Link()
    link.subscribe(SHARED["unknownDestination"])
    refusal = taken(link.errors, "an ERROR")
    expect(refusal.headers.get("message"), f"ERROR without message: {refusal.headers}")


def heartbeat():
    silent = Link()
    beating = silent if PROTOCOL == "1.0" else Link(heartbeats=(10000, 10000))
    time.sleep(JOB["seconds"]["heartbeat"])
    for link in (silent, beating):
        expect(link.lost == 0, "the connection was lost")
        expect(echo(link, "heartbeat", "still there") == "still there", "another body")
    if PROTOCOL != "1.0":
        seen = (beating.beats_in, beating.beats_out)
        expect(min(seen) >= 2, f"{seen[0]} beats in, {seen[1]} out")


def reconnect():
    """It does not reconnect by itself: its users connect again when on_disconnected tells them of the loss."""
    link = Link()
    link.confirmed(link.subscribe, destination("/topic/", "reconnect"))
    report("reconnect", "waiting")
    wait_until(lambda: link.lost, 60, "the loss of the connection")
    link = wait_until(opened, 30, "CONNECTED")
    expect(echo(link, "reconnect", "after the restart") == "after the restart", "another body")


def opened():
    try:
        return Link()
    except stomp.exception.ConnectFailedException:
        return None


def echo(link, scenario, body):
    name = destination("/topic/", scenario)
    link.subscribe(name)
    link.send(name, body)
    return link.message().body


def destination(prefix, scenario):
    return f"{prefix}stomp.py-{PROTOCOL}-{scenario}-{uuid.uuid4()}"


def taken(inbox, what):
    try:
        return inbox.get(timeout=20)
    except queue.Empty:
        raise AssertionError(f"waited 20 s for {what}") from None


def wait_until(true, seconds, what):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if result := true():
            return result
        time.sleep(0.2)
    raise AssertionError(f"waited {seconds} s for {what}")


def expect(truth, otherwise):
    if not truth:
        raise AssertionError(otherwise)


def log(way, frame):
    print(way, frame.cmd, frame.headers, str(frame.body)[:300], file=sys.stderr)


def report(scenario, result, detail=None):
    line = {"client": JOB["client"], "scenario": scenario, "result": result, "detail": detail}
    print(json.dumps(line), flush=True)


def run(scenario):
    if scenario in ABSENT:
        return report(scenario, "absent", ABSENT[scenario])
    try:
        globals()["queue_" if scenario == "queue" else scenario]()
    except Exception as failure:  # whatever a client raises is a failed cell, and the next scenario goes on
        return report(scenario, "FAILED", f"{type(failure).__name__}: {failure}")
    return report(scenario, "passed", NOTES.get(scenario))


for each in JOB["scenarios"]:
    run(each)
os._exit(0)  # its reader threads of connections left open do not end by themselves
