"""A world for the serving tests: topics of its own, workers as processes, and what they have written."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import TypeVar

import msgspec
import psutil
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from infra.topics import create
from schemas import topics
from schemas.records import ENCODER, Ack, DeadLetter, Prediction, Profile, Release, Sample
from schemas.settings import OFF, Settings
from schemas.topics import Topic
from streams.log import Entry, Follower, Output
from tests import serving_models as models

PROGRAM = """
import sys
from pathlib import Path
import msgspec
from schemas.settings import Settings
from serving.supervisor import serve
sys.exit(serve(msgspec.json.decode(sys.argv[1], type=Settings), Path(sys.argv[2]), sys.argv[3:]))
"""

PATIENCE = 60.0
"""Seconds that anything may take before the test fails."""

Found = TypeVar("Found")
Record = TypeVar("Record")


def now() -> int:
    """Wall time in epoch ms."""
    return int(time.time() * 1000)


class Topics:
    """What has been written to a topic, read as it comes."""

    def __init__(self, settings: Settings, topic: Topic) -> None:
        self._follower = Follower(settings, topic)
        self.entries: list[Entry] = []
        until(self._is_open)

    def read(self, type_: type[Found]) -> list[Found]:
        """All records so far."""
        self.entries += self._follower.poll(0.05)
        return [msgspec.json.decode(entry.value or b"", type=type_) for entry in self.entries]

    def _is_open(self) -> bool:
        try:
            self.entries += self._follower.refresh()
        except KafkaException:  # a topic that was created just now has no leader yet
            return False
        return True

    def close(self) -> None:
        """Ends the reader."""
        self._follower.close()


class Process:
    """A serving worker in a process of its own, with what it said on stderr."""

    def __init__(self, settings: Settings, repository: Path, only: Sequence[str], log: Path) -> None:
        self.log = log
        arguments = [msgspec.json.encode(settings).decode(), str(repository), *only]
        with log.open("wb") as file:
            self._process = subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], stderr=file)

    @property
    def pid(self) -> int:
        """Its process id, with which its worker's name ends."""
        return self._process.pid

    @property
    def said(self) -> str:
        """Its stderr so far."""
        return self.log.read_text()

    def serving(self) -> psutil.Process:
        """The process that serves, once there is one: a child of the one that was started, which starts it
        again."""
        return until(psutil.Process(self.pid).children)[0]

    def crash(self) -> None:
        """kill -9 for the process that serves."""
        self.serving().kill()

    def kill(self) -> None:
        """kill -9, and the process that serves ends with it."""
        children = psutil.Process(self.pid).children() if self._process.poll() is None else []
        self._process.kill()
        self._process.wait()
        psutil.wait_procs(children, PATIENCE)

    def wait(self) -> int:
        """Its exit status, once it ends by itself."""
        return self._process.wait(PATIENCE)

    def terminate(self) -> tuple[int, float]:
        """SIGTERM; answers the exit status and the seconds it took."""
        started = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(PATIENCE), time.monotonic() - started


class World:
    """One set of topics, one repository with v1, v2 and v3, and the workers that a test starts."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        create(settings, forever=True)
        self.settings = settings
        self.repository = folder / "models"
        for seed, version in enumerate(["v1", "v2", "v3"]):
            models.add_version(self.repository, version, seed)
        self._folder = folder
        self._output = Output(settings)
        self._close = ExitStack()
        self._topics: dict[Topic, Topics] = {}
        self._started = 0

    def close(self) -> None:
        """Ends all workers and readers."""
        self._close.close()

    def start(self, *only: str, health: str = OFF) -> Process:
        """A new worker, with its health at an address or nowhere."""
        self._started += 1
        serving = msgspec.structs.replace(self.settings.serving, health=health)
        settings = msgspec.structs.replace(self.settings, serving=serving)
        process = Process(settings, self.repository, only, self._folder / f"worker-{self._started}.log")
        self._close.callback(process.kill)
        return process

    def release(self, generation: int, stable: str, model: str = models.MODEL, **fields: object) -> int:
        """Writes a release, and answers when (ms)."""
        given = {"decision_id": "d", "reason": "test", "ts": now(), **fields}
        record = Release(model=model, generation=generation, stable=stable, **given)  # type: ignore[arg-type]
        self.write(topics.RELEASES, model, ENCODER.encode(record))
        return record.ts

    def request(self, request_id: str, items: Sequence[int] = (1, 2, 3), **fields: object) -> None:
        """Queues a request; `flush` waits for it."""
        record = {
            "request_id": request_id,
            "ts": now(),
            "model": models.MODEL,
            "items": [*items],
            "inputs": models.inputs(items),
            **fields,
        }
        self._output.send(topics.REQUESTS, request_id, ENCODER.encode(record))

    def flow(self, requests: int, rate: float, first: int = 0) -> Iterator[int]:
        """Requests `r<first>`…, `rate` a second, of 50 users; yields each number once it is sent."""
        started = time.monotonic()
        for n in range(first, first + requests):
            time.sleep(max(0.0, started + (n - first) / rate - time.monotonic()))
            self.request(f"r{n}", range(n % 40, n % 40 + 20), user=f"u{n % 50}")
            yield n
        self.flush()

    def write(self, topic: Topic, key: str, value: bytes, headers: Sequence[tuple[str, bytes]] = ()) -> None:
        """Writes a record as it is, and waits for it."""
        self._output.send(topic, key, value, headers=headers)
        self.flush()

    def flush(self) -> None:
        """Waits until the broker has everything."""
        self._output.flush()

    def limit(self, topic: Topic, most: int) -> None:
        """From now on the broker takes no batch of records of more than so many bytes."""
        entry = ConfigEntry("max.message.bytes", str(most), incremental_operation=AlterConfigOpType.SET)
        name = topic.full_name(self.settings.topics)
        resource = ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=[entry])
        admin = AdminClient(self.settings.kafka.librdkafka())
        admin.incremental_alter_configs([resource])[resource].result()

    def entries(self, topic: Topic) -> list[Entry]:
        """What was written to a topic, raw, as of the last time that it was read."""
        return self._follow(topic).entries

    def predictions(self) -> list[Prediction]:
        """All so far."""
        return self._follow(topics.PREDICTIONS).read(Prediction)

    def acks(self, kind: str = "ack") -> list[Ack]:
        """All acks, or heartbeats, so far."""
        return [ack for ack in self._follow(topics.ACKS).read(Ack) if ack.kind == kind]

    def dead_letters(self) -> list[DeadLetter]:
        """All so far."""
        return self._follow(topics.DEAD_LETTERS).read(DeadLetter)

    def samples(self) -> list[Sample]:
        """All so far."""
        return self._follow(topics.SAMPLES).read(Sample)

    def profiles(self) -> list[Profile]:
        """All so far."""
        return self._follow(topics.PROFILES).read(Profile)

    def await_ack(self, generation: int, workers: int = 1, status: str = "applied") -> list[Ack]:
        """The acks of a generation, once as many workers have written one."""

        def found() -> list[Ack]:
            return [ack for ack in self.acks() if (ack.generation, ack.status) == (generation, status)]

        return until(lambda: found() if len({ack.worker for ack in found()}) >= workers else [])

    def await_members(self, workers: int) -> None:
        """Asks until as many workers have answered: then they share the partitions."""
        for n in count():
            if len({one.worker for one in self.predictions()}) >= workers:
                return
            self.request(f"probe-{n}")
            self.flush()

    def await_answers(self, request_ids: Sequence[str]) -> list[Prediction]:
        """All predictions, once there is one for each of these requests."""
        wanted = set(request_ids)

        def found() -> list[Prediction]:
            predictions = self.predictions()
            return predictions if wanted <= {one.request_id for one in predictions} else []

        try:
            return until(found)
        except AssertionError as error:
            missing = sorted(wanted - {one.request_id for one in self.predictions()})
            raise AssertionError(f"{len(missing)} of {len(wanted)} unanswered: {missing[:5]}") from error

    def _follow(self, topic: Topic) -> Topics:
        if topic not in self._topics:
            self._topics[topic] = Topics(self.settings, topic)
            self._close.callback(self._topics[topic].close)
        return self._topics[topic]


def at_least(number: int, read: Callable[[], list[Record]]) -> list[Record]:
    """What `read` answers, once that is so many."""
    return until(lambda: found if len(found := read()) >= number else [])


def until(condition: Callable[[], Found]) -> Found:
    """What `condition` answers, once that is something."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"not so after {PATIENCE} s")
