"""Those who take part in the comparison, alike: how each is started on a backlog, and how its results are
read.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, NamedTuple, Protocol

import msgspec
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from infra.topics import configuration
from schemas.errors import HeadgateError
from schemas.settings import OFF, Settings
from schemas.topics import Cleanup, Topic
from tests.bench import processes
from tests.bench.backlog import Backlog, fill
from tests.bench.peers.roster import ENVIRONMENTS, PROGRAMS, WHOLE, Peer
from tests.bench.results import Decoded, Results, Rows, Snapshots

LOGS = ENVIRONMENTS / "logs"
LITTLE = 1_000
"""Predictions that are read in no time."""


class Contestant(Protocol):
    """One of them. `most`: predictions that it is given at most; `prefix` begins the names of its topics:
    those with the same prefix read the same topics, each in a group of its own.
    """

    @property
    def name(self) -> str: ...
    @property
    def most(self) -> int: ...
    @property
    def prefix(self) -> str: ...

    def prepare(self, backlog: Backlog) -> Results:
        """Whatever is needed before it starts, and how its results will be read."""
        ...

    def start(self, backlog: Backlog, log: IO[bytes]) -> "subprocess.Popen[bytes]":
        """Starts it; what it says goes to `log`."""
        ...

    def records(self, backlog: Backlog) -> int:
        """How many records it reads."""
        ...


class Stranger(NamedTuple):
    """A peer's program in its own environment."""

    peer: Peer

    @property
    def name(self) -> str:
        return self.peer.name

    @property
    def most(self) -> int:
        return self.peer.most

    @property
    def prefix(self) -> str:
        return ""

    def prepare(self, backlog: Backlog) -> Results:
        self.peer.install()
        for name in self.peer.changelogs:
            topic = f"{self.peer.output()}-{name}-changelog"
            create(backlog.settings, topic, backlog.settings.topics.partitions)
        return Rows(backlog.settings, create(backlog.settings, self.peer.output(), 1))

    def start(self, backlog: Backlog, log: IO[bytes]) -> "subprocess.Popen[bytes]":
        folder = self.peer.state()
        job = msgspec.json.encode(self.peer.job(backlog.settings, folder)).decode()
        script, *arguments = self.peer.program
        environment = {"PATH": f"{self.peer.python.parent}:{os.environ['PATH']}", "HOME": str(folder)}
        return subprocess.Popen(
            [self.peer.python, PROGRAMS / script, job, *arguments],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )

    def records(self, backlog: Backlog) -> int:
        return backlog.read


class Ours(NamedTuple):
    """A stage of ours in a process of its own, and how its results are read."""

    name: str
    module: tuple[str, ...]
    reading: Callable[[Settings], Results]
    prefix: str = ""
    most: int = WHOLE

    def prepare(self, backlog: Backlog) -> Results:
        return self.reading(backlog.settings)

    def start(self, backlog: Backlog, log: IO[bytes]) -> "subprocess.Popen[bytes]":
        return stage(backlog.settings, log, *self.module)

    def records(self, backlog: Backlog) -> int:
        return backlog.records


def _decoded(settings: Settings) -> Results:
    return Decoded(settings, create(settings, "bench.decoding", 1))


HEADGATE = Ours("Headgate", ("streams.worker", "join"), Snapshots)
TWO = Ours("Headgate, twice", ("tests.bench.two",), Snapshots, "two.")
DECODING = Ours("decoding alone", ("tests.bench.decoding",), _decoded)


def stage(settings: Settings, log: IO[bytes] | None, *module: str) -> "subprocess.Popen[bytes]":
    """Starts a stage as the supervisor does: our process id last, settings on standard input."""
    process = subprocess.Popen(
        [sys.executable, "-m", *module, str(os.getpid())], stdin=subprocess.PIPE, stdout=log, stderr=log
    )
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(unwatched(settings)))
    process.stdin.close()
    return process


def log_of(name: str) -> Path:
    """Where a contestant says what it says."""
    LOGS.mkdir(parents=True, exist_ok=True)
    return LOGS / f"{name.lower().replace(', ', '-').replace(' ', '-')}.log"


def unwatched(settings: Settings) -> Settings:
    """The settings of a process that nobody asks for its health."""
    return msgspec.structs.replace(settings, streams=msgspec.structs.replace(settings.streams, health=OFF))


def warm_up(settings: Settings) -> None:
    """Lets a join process meet each kind of record once: what it compiles is on disk for those that are
    measured.
    """
    backlog = fill(settings, LITTLE, "warm-up.")
    results = HEADGATE.prepare(backlog)
    with log_of("warm-up").open("wb") as log:
        child = stage(backlog.settings, log, *HEADGATE.module)
    try:
        while not (results.refresh() and results.complete(backlog)):
            if child.poll() is not None:
                raise HeadgateError(f"the join ended with status {child.returncode} before it was measured")
            time.sleep(0.1)
    finally:
        processes.end(processes.of(child.pid))


def create(settings: Settings, name: str, partitions: int) -> Topic:
    """Creates a topic for a contestant, and waits until the broker knows it. Raises `KafkaException`."""
    topic = Topic(name, "a contestant's", Cleanup.DELETE)
    full, config = topic.full_name(settings.topics), configuration(topic, forever=True)
    admin = AdminClient(settings.kafka.librdkafka())
    for creation in admin.create_topics([NewTopic(full, partitions, 1, config=config)]).values():
        creation.result()
    while len(admin.list_topics(full).topics[full].partitions) < partitions:
        time.sleep(0.1)
    return topic
