"""Scenarios of clients that share subscriptions (`relay.shared_topics`), with the broker's messages counted."""

import asyncio
import contextlib
import json

from brokers import Edge
from wire import Browser, Closed, Tcp, frame, page

CLIENTS = 40
MESSAGES = 200


class Counted:
    """Stands between the relay and its broker, and counts the messages that pass."""

    def __init__(self, port):
        self.port, self.messages, self.tasks = port, 0, set()

    async def start(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        return self.server.sockets[0].getsockname()[1]

    async def serve(self, reader, writer):
        self.tasks.add(asyncio.current_task())
        with contextlib.suppress(OSError, asyncio.CancelledError):
            there, back = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                await asyncio.gather(self.pump(reader, back), self.pump(there, writer))
            finally:
                back.close()
        writer.close()

    async def pump(self, reader, writer):
        last = b""
        with contextlib.suppress(OSError):
            while octets := await reader.read(65536):
                # A command may be cut between two reads.
                seen = last + octets
                self.messages += seen.count(b"MESSAGE\n") - last.count(b"MESSAGE\n")
                last = seen[-7:]
                writer.write(octets)
                await writer.drain()
        writer.close()

    def stop(self):
        self.server.close()
        for task in self.tasks:
            task.cancel()


class Stage:
    """A relay whose clients share topics, before the broker of the other scenarios."""

    def __init__(self, stage):
        self.stage = stage
        self.counted = Counted(stage.broker.port)

    async def __aenter__(self):
        upstream = f"127.0.0.1:{await self.counted.start()}"
        options = ("relay.shared_topics=/topic/,/exchange/", "relay.keep_sessions=2m", "relay.retry_longest=500ms")
        self.edge = Edge("sharing", self.stage.folder, self.stage.edge.web + 4, upstream, *options)
        await self.edge.start()
        await self.until(broker="available")
        return self

    async def __aexit__(self, *_):
        self.edge.stop()
        self.counted.stop()

    async def shared(self):
        return (await page(self.edge.web, "/stats"))[1]["relay"]["shared"]

    async def until(self, **wanted):
        while not wanted.items() <= (await self.shared()).items():
            await asyncio.sleep(0.05)

    async def readers(self, topic, number=CLIENTS):
        readers = []
        for place in range(number):
            reader = await Browser.open(self.edge.web)
            await reader.connect(("1.0", "1.1", "1.2")[place % 3])
            await reader.send(frame("SUBSCRIBE", id="s", destination="/relay/status"))
            await reader.ask(frame("SUBSCRIBE", id="0", destination=topic, receipt="r"), "r")
            readers.append(reader)
        return readers

    async def sender(self):
        sender = await Tcp.open(self.edge.tcp)
        await sender.connect()
        return sender


async def told(reader, wanted):
    """What came before the relay said so of the shared connection."""
    bodies = []
    while True:
        got = await reader.receive()
        assert got.command == "MESSAGE", got
        if got["destination"] != "/relay/status":
            bodies.append(got.body)
        elif json.loads(got.body).get("shared") == wanted:
            return bodies


async def until(reader, body):
    while (got := await reader.until("MESSAGE")).body != body or got["subscription"] != "0":
        pass


async def many_clients_share_one_subscription(stage):
    topic = f"/topic/{stage.name()}"
    async with Stage(stage) as own:
        readers = await own.readers(topic)
        sender = await own.sender()
        before = own.counted.messages
        for number in range(MESSAGES):
            await sender.send(frame("SEND", f"{number}", destination=topic, k="v"))
        for reader in readers:
            for number in range(MESSAGES):
                message = await reader.until("MESSAGE")
                assert (message.body, message["subscription"]) == (b"%d" % number, "0"), message
                assert message["k"] == "v", message
        shared = await own.shared()
        assert (shared["subscriptions"], shared["clients"]) == (1, CLIENTS), shared
        assert (shared["messages_in"], shared["messages_out"]) == (MESSAGES, MESSAGES * CLIENTS), shared
        passed = own.counted.messages - before
        assert passed == MESSAGES, f"the broker sent {passed}"
        for reader in readers:
            reader.drop()
        await own.until(subscriptions=0, clients=0)
        return f"{passed} from the broker, {shared['messages_out']} to clients"


async def sharing_clients_are_kept_when_the_broker_is_killed_under_load(stage):
    topic = f"/topic/{stage.name()}"
    async with Stage(stage) as own:
        readers = await own.readers(topic)
        sender = await own.sender()

        async def load():
            number = 0
            with contextlib.suppress(ConnectionError, Closed):
                while True:
                    await sender.send(frame("SEND", f"{number}", destination=topic))
                    number += 1
                    await asyncio.sleep(0.001)

        loading = asyncio.create_task(load())
        await until(readers[0], b"300")
        stage.broker.kill()
        lost = [await told(reader, "lost") for reader in readers]
        loading.cancel()
        # Nothing is missing and nothing is double up to there.
        for bodies in lost[1:]:
            numbers = [int(body) for body in bodies]
            assert numbers == list(range(len(numbers))) and len(numbers) > 300, numbers
        assert len({len(bodies) for bodies in lost[1:]}) == 1, "they have one connection"
        await stage.broker.start()
        for reader in readers:
            await told(reader, "back")
        assert (await own.shared())["subscriptions"] == 1
        fresh = await own.sender()
        await fresh.send(frame("SEND", "fresh", destination=topic))
        for reader in readers:
            await until(reader, b"fresh")
        for edge in (stage.edge, stage.keeping):
            await stage.ready(edge, 200)
        return f"{len(lost[1])} messages before, {CLIENTS} clients kept"


async def what_the_broker_refuses_is_one_clients_trouble(stage):
    if not stage.broker.refused:
        return "this broker refuses no topic"
    topic, refused = f"/topic/{stage.name()}", "/exchange/nowhere/x"
    async with Stage(stage) as own:
        readers = await own.readers(topic, 10)
        intruder = await Browser.open(own.edge.web)
        await intruder.connect()
        await intruder.send(frame("SUBSCRIBE", id="0", destination=refused, receipt="never"))
        error = await intruder.expect("ERROR")
        assert not error["code"], error
        assert await intruder.closed() == 1002
        for reader in readers:
            await told(reader, "back")
        sender = await own.sender()
        await sender.send(frame("SEND", "alive", destination=topic))
        for reader in readers:
            await until(reader, b"alive")
        shared = await own.shared()
        assert (shared["refused"], shared["lost"], shared["subscriptions"]) == (1, 1, 1), shared
        return error["message"]


SCENARIOS = [
    many_clients_share_one_subscription,
    sharing_clients_are_kept_when_the_broker_is_killed_under_load,
    what_the_broker_refuses_is_one_clients_trouble,
]
