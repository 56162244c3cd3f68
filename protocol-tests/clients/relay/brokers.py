"""The processes: RabbitMQ, ActiveMQ, and our relay. Each is in a group of its own, so that all of it can be killed."""

import asyncio
import os
import pathlib
import shutil
import signal
import socket
import subprocess


class Process:
    def __init__(self, name, folder):
        self.name, self.folder = name, folder
        self.process = None

    def spawn(self, command, environment=None):
        log = open(self.folder / f"{self.name}.log", "ab")
        self.process = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, **(environment or {})}, start_new_session=True, cwd=self.folder
        )

    def signal(self, number):
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def kill(self):
        """At once, with everything it has started."""
        self.signal(signal.SIGKILL)
        self.end()

    def stop(self):
        """Politely, as far as it takes that."""
        self.signal(signal.SIGTERM)
        self.end()

    def end(self):
        if self.process:
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.signal(signal.SIGKILL)
                self.process.wait()
            self.process = None

    async def answers(self, port):
        """Waits until something listens at the port."""
        while not listens(port):
            assert self.process.poll() is None, f"{self.name} ended: see {self.folder}/{self.name}.log"
            await asyncio.sleep(0.2)

    async def leaves(self, port):
        """Waits until nothing listens at the port any more: of what was killed only the first process has been waited for."""
        while listens(port):
            await asyncio.sleep(0.05)


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class RabbitMq(Process):
    # It tells what it misses with an ERROR that names the forms.
    refused = "/nowhere/x"
    user = "/user/exchange/amq.direct/pos"

    def __init__(self, folder, base):
        super().__init__("rabbitmq", folder)
        self.port = base
        amqp, dist, self.epmd = base + 1, base + 2, base + 3
        (folder / "plugins").write_text("[rabbitmq_stomp].")
        (folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{amqp}\nstomp.listeners.tcp.1 = 127.0.0.1:{self.port}\n"
        )
        self.environment = {
            "HOME": str(folder),
            "ERL_EPMD_PORT": str(self.epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            # It lets itself be ended although a node that was killed is still in its list.
            "ERL_EPMD_RELAXED_COMMAND_CHECK": "1",
            "RABBITMQ_NODENAME": "relaytests@localhost",
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_DIST_PORT": str(dist),
        }

    async def start(self):
        await self.leaves(self.port)
        self.spawn(["/usr/lib/rabbitmq/bin/rabbitmq-server"], self.environment)
        await self.answers(self.port)

    def close(self):
        self.kill()
        environment = {**os.environ, **self.environment}
        # The name server that RabbitMQ started for itself on our port.
        subprocess.run(["epmd", "-kill"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


class ActiveMq(Process):
    refused = None
    user = "/user/queue/pos"

    def __init__(self, folder, base):
        super().__init__("activemq", folder)
        self.port = base

    async def start(self):
        await self.leaves(self.port)
        classes = f"{os.environ['ACTIVEMQ_CLASSES']}:{os.environ['ACTIVEMQ_CLASSPATH']}"
        self.spawn(["java", "-Xmx256m", "-cp", classes, "ActiveMq", str(self.port), str(self.folder / "store")])
        await self.answers(self.port)

    def close(self):
        self.kill()


class Edge(Process):
    """Our relay in front of the broker at `upstream`."""

    def __init__(self, name, folder, base, upstream, *options):
        super().__init__(name, folder)
        self.web, self.tcp = base, base + 1
        settings = [f"--set={option}" for option in options]
        self.command = [
            os.environ["HOOFBEAT_BIN"], "--mode", "relay", "--upstream", upstream,
            "--websocket", str(self.web), "--tcp", str(self.tcp), "--log", "debug", *settings,
        ]

    async def start(self):
        await self.leaves(self.web)
        self.spawn(self.command)
        await self.answers(self.web)


BROKERS = {"rabbitmq": RabbitMq, "activemq": ActiveMq}


def fresh(path):
    """An empty folder there."""
    folder = pathlib.Path(path)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
