"""What the serving benchmark runs on: a local stack, a repository of both models, workers as processes, and a
hand that writes releases."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import psutil
from confluent_kafka import KafkaException

from infra import topics as broker
from infra.local.kafka import OPTIMIZING
from infra.local.process import Process
from infra.local.stack import LocalStack
from schemas import topics
from schemas.records import ENCODER, Ack, Codec, Phase, Release
from schemas.settings import Settings
from schemas.topics import Topic
from serving.repository import Repository
from streams.log import Follower, Output
from tests.bench import processes, serving_demo, serving_nets

PATIENCE = 120.0
"""Seconds that anything may take before the run has failed."""
STEP = 0.002


class World:
    """The stack, the repository and the topics of one run."""

    def __init__(self, stack: LocalStack, folder: Path) -> None:
        self.settings: Settings = stack.settings
        self.repository = Repository(folder)
        self._logs = stack.logs
        self._output = Output(self.settings)
        self._generations: dict[str, int] = {}
        self._acks = opened(self.settings, topics.ACKS)
        self._said: list[tuple[int, Ack]] = []
        self._codec: Codec[Ack] = Codec(Ack)

    @contextmanager
    def worker(self) -> Iterator[psutil.Process]:
        """A worker with one thread for models, as the command starts it."""
        process = Process("serve", self._logs / "serve.log")
        environment = {**self.settings.environment(), "HEADGATE_SERVING_HEALTH": "127.0.0.1:0"}
        models = str(self.repository.root)
        process.start([sys.executable, "-m", "infra.cli", "serve", "--models", models], environment)
        try:
            assert process.pid is not None
            yield psutil.Process(process.pid)
        finally:
            process.stop()

    @contextmanager
    def echo(self, prefix: str) -> Iterator[tuple[Settings, psutil.Process]]:
        """A bare loop of Kafka's client that answers every request at once (`serving_echo.py`), on topics of
        its own, which the settings name."""
        its_own = msgspec.structs.replace(self.settings.topics, prefix=prefix)
        settings = msgspec.structs.replace(self.settings, topics=its_own)
        broker.create(settings, forever=True)
        process = processes.python("tests.bench.serving_echo", settings.kafka.brokers, prefix)
        try:
            yield settings, process
        finally:
            processes.end(process)

    def release(
        self, model: str, stable: str, candidate: str | None = None, phase: Phase = "stable"
    ) -> tuple[int, float]:
        """Writes the next generation, the candidate with half of the traffic; answers its number and when
        (epoch ms) it was written."""
        generation = self._generations[model] = self._generations.get(model, 0) + 1
        now = time.time() * 1000
        record = Release(
            model=model,
            generation=generation,
            ts=int(now),
            stable=stable,
            candidate=candidate,
            weight=0.5 if candidate else 0.0,
            phase=phase,
            salt="bench",
            decision_id=f"bench-{generation}",
            reason="measured",
        )
        self._output.send(topics.RELEASES, model, ENCODER.encode(record), timestamp=int(now))
        self._output.flush()
        return generation, now

    def acked(self, model: str, generation: int, status: str = "applied") -> int | None:
        """When (epoch ms) a worker said that of a generation; None: not yet."""
        self._said += [(e.timestamp, self._codec.decode(e.value)) for e in self._acks.poll(0)]
        for at, ack in self._said:
            if (ack.model, ack.generation, ack.kind, ack.status) == (model, generation, "ack", status):
                return at
            if (ack.model, ack.generation, ack.status) == (model, generation, "failed"):
                raise RuntimeError(f"{model}: generation {generation} failed: {ack.error}")
        return None

    def await_ack(self, model: str, generation: int) -> int:
        """When it is applied."""
        return until(lambda: self.acked(model, generation))

    def forget(self) -> None:
        """Forgets the acks so far."""
        self._said.clear()

    def close(self) -> None:
        """Ends the reader."""
        self._acks.close()


@contextmanager
def world() -> Iterator[World]:
    """Up to the end of the block."""
    with ExitStack() as resources:
        stack = resources.enter_context(LocalStack(java=OPTIMIZING))
        folder = Path(resources.enter_context(TemporaryDirectory()))
        broker.create(stack.settings, forever=True)
        made = World(stack, folder)
        resources.callback(made.close)
        serving_nets.add(made.repository)
        serving_demo.add(made.repository)
        yield made


def opened(settings: Settings, topic: Topic) -> Follower:
    """A follower from the topic's end on."""
    follower = Follower(settings, topic)
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            follower.refresh()
        except KafkaException:  # a topic that was created just now has no leader yet
            if time.monotonic() > deadline:
                raise
            time.sleep(STEP)
        else:
            return follower


def until(found: Callable[[], int | None]) -> int:
    """What `found` answers, once it does."""
    deadline = time.monotonic() + PATIENCE
    while (answer := found()) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing came within {PATIENCE:.0f} s")
        time.sleep(STEP)
    return answer


def interpreter(code: str) -> float:
    """Seconds that a new interpreter takes to run `code`."""
    started = time.perf_counter()
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", code], os.environ)
    os.waitpid(pid, 0)
    return time.perf_counter() - started
