"""A join process with little memory before a backlog that needs more: topics that are ahead wait, panes close
early only where that is not enough, and nothing goes uncounted.
"""

import subprocess
import sys
import time
from pathlib import Path

import msgspec
import psutil
import pytest
from confluent_kafka import Producer
from prometheus_client.parser import text_string_to_metric_families

from infra.local import ports
from schemas import policies
from schemas.policies import Policy
from schemas.records import Codec, Pane, PaneRecord, Progress
from schemas.settings import Settings
from schemas.topics import FEEDBACK, PANES, PREDICTIONS, REQUESTS, Topic
from streams.log import Follower
from tests.conftest import SharedStack, isolated
from tests.oracle import stages
from tests.oracle.panes import Key, key_of
from tests.probing import ask

MIB = 1 << 20
MINUTE = 60_000
NOON = 1_767_268_800_000
ITEMS = 30
SPAN = 20 * MINUTE
"""The time in which the events of a backlog are."""

FETCHED = 12
"""MiB that a process may hold beyond its limit: what it has fetched is still taken in."""


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
    """What the join has said: of each key the highest snapshot, and up to which `time` (ms) all is final."""

    def __init__(self, settings: Settings) -> None:
        self._follower = Follower(settings, PANES)
        self._codec: Codec[PaneRecord] = Codec(PaneRecord)
        self._held: dict[Key, Pane] = {}
        self.time = 0

    def refresh(self) -> None:
        """Reads what is new."""
        for entry in self._follower.refresh():
            record = self._codec.decode(entry.value)
            if isinstance(record, Progress):
                self.time = max(self.time, record.time)
            elif not record.segment:
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


def held(port: int) -> float:
    """MiB of pending events that a join process says it holds; 0 before it says anything."""
    for family in text_string_to_metric_families(ask(port, "/metrics").text):
        for sample in family.samples:
            if sample.name == "headgate_buffer_bytes":
                return sample.value / MIB
    return 0.0


def read(folder: Path, settings: Settings, backlog: Backlog, limit: int) -> tuple[Said, float]:
    """Lets a process with `limit` MiB read the backlog; answers what it says, and the most that it held
    (MiB).
    """
    port, file = ports.free(), folder / "headgate.toml"
    toml = file.read_text().replace('health = "off"', f'health = "127.0.0.1:{port}"')
    file.write_text(f"{toml}memory = {limit}\n")
    said = Said(settings)
    backlog.much()
    with stages.running(folder, settings, "join") as running:
        process: psutil.Process = running.process("join")
        highest, deadline = 0.0, time.monotonic() + 90
        while said.time < NOON + SPAN + 240 * MINUTE:
            assert time.monotonic() < deadline, f"stands at {said.total('predictions')} predictions"
            said.refresh()
            highest = max(highest, held(port))
            time.sleep(0.05)
        assert process.is_running()
    return said, highest


@pytest.fixture
def settings(stack: SharedStack) -> Settings:
    """Topics of one partition, of each test's own; all code is compiled before anything is measured."""
    subprocess.run([sys.executable, "-m", "streams.join.compile"], check=True)
    settings = isolated(stack.settings)
    of_one = msgspec.structs.replace(settings.topics, partitions=1, model_partitions=1)
    return msgspec.structs.replace(settings, topics=of_one)


@pytest.mark.timeout(240)
def test_while_feedback_lags_predictions_wait_and_everything_counts_as_if_there_were_no_limit(
    tmp_path: Path, settings: Settings
) -> None:
    stages.prepare(tmp_path, settings, policy(window=MINUTE))
    backlog = Backlog(settings, 150_000, noise=2)
    said, highest = read(tmp_path, settings, backlog, limit=24)
    assert said.total("predictions") == said.total("clicks") == backlog.predictions
    assert said.total("late", "incomplete", "duplicates", "unmatched") == 0
    assert 24 / 2 < highest < 24 + FETCHED  # without a limit 44


@pytest.mark.timeout(240)
def test_where_waiting_is_not_enough_old_panes_close_early_and_every_event_is_counted_once(
    tmp_path: Path, settings: Settings
) -> None:
    stages.prepare(tmp_path, settings, policy(window=60 * MINUTE))
    backlog = Backlog(settings, 120_000, noise=0)
    said, highest = read(tmp_path, settings, backlog, limit=16)
    assert said.total("incomplete") > 0
    assert said.total("predictions", "clicks", "late", "unmatched") == 2 * backlog.predictions
    assert said.total("duplicates", "expired") == 0
    assert 16 / 2 < highest < 16 + FETCHED
