"""STOMP clients that hide nothing: over TCP, and over WebSocket as a browser has it. Standard library only."""

import asyncio
import base64
import json
import os
import struct

PATIENCE = 60


class Closed(Exception):
    """The other side closed; with the WebSocket close code, if there was one."""


class Frame:
    def __init__(self, octets):
        head, _, self.body = octets.partition(b"\n\n")
        lines = head.decode().split("\n")
        self.command = lines[0]
        self.lines = [tuple(line.split(":", 1)) for line in lines[1:]]
        self.headers = dict(reversed(self.lines))

    def __getitem__(self, name):
        return self.headers.get(name)

    def __repr__(self):
        return f"{self.command} {self.lines} {self.body[:80]!r}"


def frame(command, body=b"", **headers):
    """A frame; an underscore in a name is a hyphen, and a body is counted."""
    body = body.encode() if isinstance(body, str) else body
    lines = [f"{name.replace('_', '-')}:{value}" for name, value in headers.items()]
    return "\n".join([command, *lines, "", ""]).encode() + body + b"\0"


class Client:
    """One connection. Frames are put into `frames` by a task of their own, heart-beats dropped."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.frames = asyncio.Queue()
        self.buffer = b""
        self.code = None
        self.task = None

    def start(self):
        self.task = asyncio.create_task(self._read())
        return self

    async def _read(self):
        try:
            while True:
                octets = await self._octets()
                if not octets:
                    break
                self.buffer += octets
                self._take()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        self.frames.put_nowait(None)

    def _take(self):
        while True:
            self.buffer = self.buffer.lstrip(b"\r\n")
            head, blank, rest = self.buffer.partition(b"\n\n")
            if not blank:
                return
            length = next((int(line[15:]) for line in head.split(b"\n") if line.startswith(b"content-length:")), None)
            if length is None:
                length = rest.find(b"\0")
            if length < 0 or len(rest) <= length:
                return
            self.frames.put_nowait(Frame(head + blank + rest[:length]))
            self.buffer = rest[length + 1:]

    async def receive(self, wait=PATIENCE):
        """The next frame."""
        got = await asyncio.wait_for(self.frames.get(), wait)
        if got is None:
            self.frames.put_nowait(None)
            raise Closed(self.code)
        return got

    async def expect(self, command, **headers):
        """The next frame, which must be that one."""
        got = await self.receive()
        wanted = {name.replace("_", "-"): value for name, value in headers.items()}
        assert got.command == command and all(got[name] == value for name, value in wanted.items()), f"{got}, not {command} {wanted}"
        return got

    async def until(self, command, **headers):
        """The frame, whatever comes before it."""
        wanted = {name.replace("_", "-"): value for name, value in headers.items()}
        while True:
            got = await self.receive()
            if got.command == command and all(got[name] == value for name, value in wanted.items()):
                return got
            assert got.command != "ERROR", got

    async def closed(self):
        """Waits for the end; its close code."""
        while True:
            try:
                await self.receive()
            except Closed:
                return self.code

    async def connect(self, version="1.2", login="web", **headers):
        await self.send(frame("CONNECT", accept_version=version, login=login, passcode="p", **{"heart_beat": "0,0", **headers}))
        return await self.expect("CONNECTED")

    async def ask(self, octets, receipt):
        """Sends a frame that asks for that receipt, and waits for it; messages meanwhile are put back."""
        await self.send(octets)
        aside = []
        while True:
            got = await self.receive()
            if got.command == "RECEIPT" and got["receipt-id"] == receipt:
                break
            assert got.command == "MESSAGE", got
            aside.append(got)
        later = [self.frames.get_nowait() for _ in range(self.frames.qsize())]
        for got in aside + later:
            self.frames.put_nowait(got)

    def drop(self):
        """As a browser that crashes."""
        self.task.cancel()
        self.writer.transport.abort()


class Tcp(Client):
    @classmethod
    async def open(cls, port):
        return cls(*await asyncio.open_connection("127.0.0.1", port)).start()

    async def _octets(self):
        return await self.reader.read(65536)

    async def send(self, octets):
        self.writer.write(octets)
        await self.writer.drain()
        await asyncio.sleep(0)


class Browser(Client):
    @classmethod
    async def open(cls, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(
            f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Origin: http://127.0.0.1:{port}\r\nUser-Agent: relay.py\r\nSec-WebSocket-Protocol: v12.stomp, v11.stomp\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
        assert b" 101 " in head, head
        return cls(reader, writer).start()

    async def _octets(self):
        head = await self.reader.readexactly(2)
        length = head[1]
        if length == 126:
            length = struct.unpack(">H", await self.reader.readexactly(2))[0]
        elif length == 127:
            length = struct.unpack(">Q", await self.reader.readexactly(8))[0]
        payload = await self.reader.readexactly(length)
        opcode = head[0] & 15
        if opcode == 8:
            self.code = struct.unpack(">H", payload[:2])[0]
            await self._message(8, payload)
            return b""
        if opcode == 9:
            await self._message(10, payload)
            return b"\n"
        return payload

    async def send(self, octets):
        await self._message(1, octets)

    async def _message(self, opcode, payload):
        mask = os.urandom(4)
        length = len(payload)
        if length < 126:
            size = bytes([0x80 | length])
        elif length < 65536:
            size = b"\xfe" + struct.pack(">H", length)
        else:
            size = b"\xff" + struct.pack(">Q", length)
        masked = bytes(octet ^ mask[at % 4] for at, octet in enumerate(payload))
        self.writer.write(bytes([0x80 | opcode]) + size + mask + masked)
        await self.writer.drain()
        # drain() does not let others have their turn as long as there is room: whoever only sends would never read.
        await asyncio.sleep(0)


async def page(port, path):
    """Status and body of a page."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), PATIENCE)
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), json.loads(body)
