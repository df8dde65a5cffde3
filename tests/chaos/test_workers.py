"""Several join workers share the source partitions while events flow: one is added, one is killed, one is
frozen past its session and thawed, one leaves. Afterwards the views say what a batch computation says.
"""

import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from schemas.settings import Settings
from streams.registry import group
from tests.conftest import SharedStack, isolated
from tests.oracle import stages, traffic
from tests.oracle.stages import Stages
from tests.oracle.traffic import SENTINEL, WATCHED, Traffic


@pytest.fixture
def settings(stack: SharedStack) -> Settings:
    """Names of each test's own: its traffic leaves clocks that are far ahead."""
    return isolated(stack.settings)


class Workers:
    """Join workers of one group, each under a supervisor of its own, beside the judge and the sink."""

    def __init__(self, folder: Path, settings: Settings, stack: ExitStack) -> None:
        self._folder, self._settings, self._stack = folder, settings, stack
        self._group = group("join", settings)
        self._admin = AdminClient(settings.kafka.librdkafka())
        stack.enter_context(stages.running(folder, settings, "judge", "sink"))
        self.joins: list[Stages] = []
        self.add()

    def add(self) -> Stages:
        """One more; waits until it has its share."""
        added = self._stack.enter_context(stages.running(self._folder, self._settings, "join"))
        self.joins.append(added)
        self.wait_for(len(self.joins))
        return added

    def wait_for(self, members: int) -> None:
        """Waits until the group has settled with so many members, each with its share of the partitions."""
        traffic.wait_until(lambda: self._shares(members), 45)

    def _shares(self, members: int) -> bool:
        try:
            found = self._admin.describe_consumer_groups([self._group])[self._group].result()
        except KafkaException:  # a new broker is nobody's coordinator at first
            return False
        shares = [len(member.assignment.topic_partitions) for member in found.members]
        partitions = 3 * self._settings.topics.partitions
        return len(shares) == members and all(shares) and sum(shares) == partitions

    @contextmanager
    def frozen(self, worker: Stages) -> Iterator[None]:
        """A worker that does nothing, and does not know it: within the block others have its partitions."""
        process = worker.process("join")
        process.send_signal(signal.SIGSTOP)
        try:
            self.wait_for(len(self.joins) - 1)
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def kill(self, worker: Stages) -> None:
        """`kill -9`; its supervisor starts another."""
        process = worker.process("join")
        process.send_signal(signal.SIGKILL)
        psutil.wait_procs([process], 10)


@pytest.mark.timeout(240)
def test_a_worker_added_one_killed_and_one_frozen_under_load_change_no_final_pane(
    tmp_path: Path, settings: Settings
) -> None:
    stages.prepare(tmp_path, settings, WATCHED, SENTINEL)
    with ExitStack() as stack:
        workers = Workers(tmp_path, settings, stack)
        with Traffic(settings, seed=17, rate=80):
            time.sleep(2)  # of events in open panes
            second = workers.add()
            with workers.frozen(second):
                time.sleep(2)  # in which the others emit what the frozen one had
            workers.wait_for(2)
            workers.kill(workers.joins[0])
            workers.wait_for(2)
        traffic.wait_until_final(settings)
        found, truth = traffic.compare(settings)
    assert found == [], "\n".join(found[:20])
    assert traffic.total(truth, "predictions") > 0


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(4))
def test_a_long_run_of_mishaps_changes_no_final_pane(tmp_path: Path, settings: Settings, seed: int) -> None:
    rng = random.Random(seed)
    stages.prepare(tmp_path, settings, WATCHED, SENTINEL)
    with ExitStack() as stack:
        workers = Workers(tmp_path, settings, stack)
        with Traffic(settings, seed=200 + seed, rate=80):
            workers.add()
            workers.add()
            for _ in range(20):
                time.sleep(rng.expovariate(1 / 3))
                victim = rng.choice(workers.joins)
                if rng.random() < 0.5:
                    workers.kill(victim)
                else:
                    with workers.frozen(victim):
                        time.sleep(rng.expovariate(1 / 3))
                workers.wait_for(3)
        traffic.wait_until_final(settings)
        found, truth = traffic.compare(settings)
    assert found == [], "\n".join(found[:20])
    assert traffic.total(truth, "predictions") > 0
