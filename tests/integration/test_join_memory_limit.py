"""A join process with little memory before a backlog that needs more: topics that are ahead wait, panes close
early only where that is not enough, and nothing goes uncounted.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psutil
import pytest
from confluent_kafka import Producer

from infra.local.stack import LocalStack
from schemas import policies
from schemas.policies import Policy
from schemas.records import Codec, Pane, PaneRecord
from schemas.settings import Settings
from schemas.topics import FEEDBACK, PANES, PREDICTIONS, REQUESTS, Topic
from streams.log import Follower
from tests.conftest import isolated
from tests.oracle import stages, traffic
from tests.oracle.panes import Key, key_of
from tests.oracle.stages import Stages

MIB = 1 << 20
MINUTE = 60_000
NOON = 1_767_268_800_000
ITEMS = 30
SPAN = 20 * MINUTE
"""The time in which the events of a backlog are."""

WORKING = 192
"""MiB that a process takes besides, whatever its limit: what it has fetched, and the columns of one call;
from run to run very different."""


def policy(window: int) -> Policy:
    """Clicks count for `window` ms."""
    return Policy(
        model="ranker",
        pane=policies.Duration(10_000),
        attribution=policies.Attribution(
            window=policies.Duration(window), lateness=policies.Duration(10_000)
        ),
        answer=policies.Duration(1_000),
    )


class Backlog:
    """Predictions of `ITEMS` items, evenly over `SPAN`, a click on the first item of each after a second, and
    so much feedback besides that its topic is by far the longest.
    """

    def __init__(self, settings: Settings, predictions: int, noise: int) -> None:
        self.predictions, self.noise = predictions, noise
        self._settings = settings
        self._producer = Producer(
            settings.kafka.librdkafka()
            | {"compression.type": "lz4", "linger.ms": 50, "batch.num.messages": 20_000}
        )
        self._items = ",".join(f'"i{i}"' for i in range(ITEMS))

    def little(self) -> None:
        """One prediction, its request and a click, an hour before: all code is loaded then."""
        self._request(NOON - 60 * MINUTE, "little")
        self._predict(NOON - 60 * MINUTE, "little")
        self._hear(NOON - 60 * MINUTE, "little", "i0")
        self._producer.flush()

    def much(self) -> None:
        """All of it."""
        for i in range(self.predictions):
            ts = NOON + i * SPAN // self.predictions
            self._predict(ts, f"r{i}")
            self._hear(ts + 1_000, f"r{i}", "i0")
            for j in range(self.noise):
                self._hear(ts + 1_000, f"r{i}", f"not shown {j}")
        for topic_leap in range(2):
            ts = NOON + SPAN + (topic_leap + 1) * 120 * MINUTE
            for record in (self._request, self._predict):
                record(ts, f"leap{topic_leap}")
            self._hear(ts, f"leap{topic_leap}", "i0")
        self._producer.flush()

    def _request(self, ts: int, name: str) -> None:
        self._send(REQUESTS, ts, name, '"model":"ranker"')

    def _predict(self, ts: int, name: str) -> None:
        self._send(
            PREDICTIONS,
            ts,
            name,
            '"model":"ranker","version":"v1","arm":"stable","status":"ok","latency_ms":5,"items":['
            + self._items
            + "]",
        )

    def _hear(self, ts: int, name: str, item: str) -> None:
        self._send(FEEDBACK, ts, name, f'"kind":"click","item":"{item}"')

    def _send(self, topic: Topic, ts: int, name: str, rest: str) -> None:
        full, value = topic.full_name(self._settings.topics), f'{{"request_id":"{name}","ts":{ts},{rest}}}'
        while True:
            try:
                self._producer.produce(full, value, name, timestamp=ts)
            except BufferError:
                self._producer.poll(0.1)
            else:
                self._producer.poll(0)
                return


class Said:
    """What the join has said: of each key the highest snapshot."""

    def __init__(self, settings: Settings) -> None:
        self._follower = Follower(settings, PANES)
        self._codec: Codec[PaneRecord] = Codec(PaneRecord)
        self._held: dict[Key, Pane] = {}

    def refresh(self) -> None:
        """Reads what is new."""
        for entry in self._follower.refresh():
            record = self._codec.decode(entry.value)
            if isinstance(record, Pane) and not record.segment:
                held = self._held.get(key_of(record))
                if held is None or record.snapshot > held.snapshot:
                    self._held[key_of(record)] = record

    def total(self, *names: str) -> int:
        """A sum of these counts over all panes of the backlog, and of counts that belong to no pane."""
        return sum(
            int(pane.sums.get(name, 0))
            for pane in self._held.values()
            for name in names
            if NOON <= pane.start < NOON + SPAN + 30 * MINUTE
        )

    def has(self, ts: int) -> bool:
        """Whether the prediction of that time is counted, with its click."""
        return any(pane.start <= ts < pane.end and pane.sums.get("clicks") for pane in self._held.values())


class Watched:
    """A join process: its highest memory (MiB) since it was last asked."""

    def __init__(self, running: Stages) -> None:
        self._process: psutil.Process = running.process("join")

    @property
    def memory(self) -> float:
        """Resident, now."""
        return float(self._process.memory_info().rss) / MIB

    @property
    def lives(self) -> bool:
        """Whether it is still the same process."""
        return bool(self._process.is_running())


@contextmanager
def joining(folder: Path, settings: Settings) -> Iterator[Watched]:
    """A join process, as long as the block lasts."""
    with stages.running(folder, settings, "join") as running:
        yield Watched(running)


def read(folder: Path, settings: Settings, backlog: Backlog, limit: int) -> tuple[Said, float]:
    """Lets a process with `limit` MiB read the backlog; answers what it says, and how much memory (MiB) it
    took more than one that has read little.
    """
    file = folder / "headgate.toml"
    file.write_text(f"{file.read_text()}memory = {limit}\n")
    said = Said(settings)
    backlog.little()
    with joining(folder, settings) as process:

        def begun() -> bool:
            said.refresh()
            return said.has(NOON - 60 * MINUTE)

        traffic.wait_until(begun)
        alone = process.memory
    backlog.much()
    with joining(folder, settings) as process:
        highest, deadline = 0.0, time.monotonic() + 90
        while not said.has(NOON + SPAN + 240 * MINUTE):
            assert time.monotonic() < deadline, f"stands at {said.total('predictions')} predictions"
            said.refresh()
            highest = max(highest, process.memory)
            time.sleep(0.05)
        assert process.lives
    print(f"limit {limit} MiB: {highest - alone:.0f} MiB above {alone:.0f}")
    print(
        {
            name: said.total(name)
            for name in ("predictions", "clicks", "late", "incomplete", "duplicates", "unmatched", "expired")
        }
    )
    return said, highest - alone


@pytest.fixture
def settings(stack: LocalStack) -> Settings:
    """Topics of one partition, of each test's own; all code is compiled before anything is measured."""
    subprocess.run([sys.executable, "-m", "streams.join.compile"], check=True)
    settings = isolated(stack.settings)
    return msgspec.structs.replace(settings, topics=msgspec.structs.replace(settings.topics, partitions=1))


@pytest.mark.timeout(240)
def test_while_feedback_lags_predictions_wait_and_everything_counts_as_if_there_were_no_limit(
    tmp_path: Path, settings: Settings
) -> None:
    stages.prepare(tmp_path, settings, policy(window=MINUTE))
    backlog = Backlog(settings, 150_000, noise=2)
    said, memory = read(tmp_path, settings, backlog, limit=32)
    assert said.total("predictions") == said.total("clicks") == backlog.predictions
    assert said.total("late", "incomplete", "duplicates", "unmatched") == 0
    assert memory < 1.3 * 32 + WORKING


@pytest.mark.timeout(240)
def test_where_waiting_is_not_enough_old_panes_close_early_and_every_event_is_counted_once(
    tmp_path: Path, settings: Settings
) -> None:
    stages.prepare(tmp_path, settings, policy(window=60 * MINUTE))
    backlog = Backlog(settings, 120_000, noise=0)
    said, memory = read(tmp_path, settings, backlog, limit=16)
    assert said.total("incomplete") > 0
    assert said.total("predictions", "clicks", "late", "unmatched") == 2 * backlog.predictions
    assert said.total("duplicates", "expired") == 0
    assert memory < 1.3 * 16 + WORKING
