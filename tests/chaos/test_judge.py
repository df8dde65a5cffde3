"""`kill -9` to the judge at every step of its work, while releases go their way: no decision is lost, none is
made twice, and each follows from the log.
"""

import random
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

import infra.topics
from infra.commands.release_verify import verified
from schemas.settings import Settings
from streams.judge.verify import Result
from tests.chaos.doomed import POINTS, program
from tests.judge_processes import POLICY, Bench, now

LIFE = 40.0
"""Seconds that a judge may live before it is killed where it is."""
BY_HAND = {name: value for name, value in POLICY["release"].items() if name != "success"}
"""Nothing is promoted by itself."""


@pytest.fixture
def bench(settings: Settings, tmp_path: Path) -> Iterator[Bench]:
    infra.topics.create(settings, forever=True)
    made = Bench(settings, tmp_path, f"ranker-{now()}")
    made.apply(POLICY | {"release": BY_HAND})
    yield made
    made.close()


@contextmanager
def traffic(bench: Bench, rates: dict[str, float]) -> Iterator[None]:
    """A second's panes and acks every second, by the release in force; none while there is no release."""
    over, feeder = threading.Event(), bench.twin()

    def flow() -> None:
        while not over.wait(1.0):
            if feeder.release is not None:
                feeder.second(rates)

    thread = threading.Thread(target=flow)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def live_and_die(bench: Bench, point: str, count: int) -> None:
    """One judge's life."""
    judge = bench.start(program(point, count))
    try:
        judge.wait(LIFE)
    except subprocess.TimeoutExpired:
        judge.kill()
        judge.wait()


def course(bench: Bench, deaths: Sequence[tuple[str, int]]) -> None:
    """The judge dies while a release begins, and while it is rolled back, for the new version has turned
    worse; then what stands is held against what ought to.
    """
    half, rates = len(deaths) // 2, {"v1": 0.2, "v2": 0.2}
    with traffic(bench, rates):
        bench.command("start", "v1")
        bench.command("start", "v2")
        for point, count in deaths[:half]:
            live_and_die(bench, point, count)
        judge = bench.start()
        bench.until(lambda: bench.phase() == "canary")
        judge.kill()
        judge.wait()
        rates["v2"] = 0.12
        for point, count in deaths[half:]:
            live_and_die(bench, point, count)
        bench.start()
        bench.until(lambda: bench.phase() == "rolled_back", 120)
    releases = bench.releases()
    assert [(record.generation, record.phase) for record in releases] == [
        (1, "stable"),
        (2, "canary"),
        (3, "rolled_back"),
    ]
    bench.until(lambda: any(alert.rule == "release_rolled_back" for alert in bench.alerts()))
    assert len({alert.alert_id for alert in bench.alerts() if alert.rule == "release_rolled_back"}) == 1
    found = verified(bench.settings, bench.model)
    assert [(one.result, one.differences) for one in found] == [(Result.SAME, ())] * len(releases)


AROUND_DECISIONS = (
    ("after a decision", 1),
    ("before offsets", 2),
    ("before a decision", 1),
    ("after a decision", 1),
)
"""While the release begins, and around its rollback."""


@pytest.mark.timeout(600)
def test_a_judge_that_dies_around_its_decisions_loses_none_and_makes_none_twice(bench: Bench) -> None:
    course(bench, AROUND_DECISIONS)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(4))
def test_a_judge_that_dies_at_every_step_loses_no_decision_and_makes_none_twice(
    bench: Bench, seed: int
) -> None:
    chance = random.Random(seed)
    deaths = [(point, chance.randint(1, 4)) for point in POINTS for _ in range(3)]
    chance.shuffle(deaths)
    course(bench, deaths)
