"""`kill -9` at random moments while events flow: afterwards the views say what a batch computation says."""

import random
import time
from pathlib import Path

import pytest

from schemas.settings import Settings
from tests.conftest import SharedStack, isolated
from tests.oracle import stages, traffic
from tests.oracle.traffic import SENTINEL, WATCHED, Traffic


@pytest.fixture
def settings(stack: SharedStack) -> Settings:
    """Names of each test's own: its traffic leaves clocks that are far ahead."""
    return isolated(stack.settings)


def kill_while_events_flow(
    folder: Path, settings: Settings, *, seed: int, kills: int, pause: float
) -> list[str]:
    """Kills one stage after the other, `pause` seconds apart on average; answers what the views then have
    wrong."""
    rng = random.Random(seed)
    victims = [stages.STAGES[i % len(stages.STAGES)] for i in range(kills)]
    rng.shuffle(victims)
    stages.prepare(folder, settings, WATCHED, SENTINEL)
    with stages.running(folder, settings) as running:
        with Traffic(settings, seed):
            for victim in victims:
                time.sleep(rng.expovariate(1 / pause))
                running.kill(victim)
        traffic.wait_until_final(settings)
        found, truth = traffic.compare(settings)
        assert running.log.read_text().count("by SIGKILL") == kills
    assert traffic.total(truth, "predictions") > 0
    return found


@pytest.mark.timeout(240)
def test_two_kills_of_each_stage_change_no_final_pane(tmp_path: Path, settings: Settings) -> None:
    assert kill_while_events_flow(tmp_path, settings, seed=3, kills=6, pause=1.5) == []


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(5))
def test_many_kills_change_no_final_pane(tmp_path: Path, settings: Settings, seed: int) -> None:
    assert kill_while_events_flow(tmp_path, settings, seed=100 + seed, kills=40, pause=8) == []
