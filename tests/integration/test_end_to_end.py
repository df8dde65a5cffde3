"""Events in, views out: the real broker, the real stages, the real ClickHouse, against the batch truth."""

import random
from pathlib import Path

import pytest

from schemas.settings import Settings
from schemas.topics import EVENTS
from tests.oracle import stages, traffic
from tests.oracle.traffic import SENTINEL, WATCHED, Traffic

SECONDS = 15


@pytest.fixture
def folder(tmp_path: Path, settings: Settings) -> Path:
    """A user's folder, with topics and policies in place."""
    stages.prepare(tmp_path, settings, WATCHED, SENTINEL)
    return tmp_path


def test_the_views_say_what_a_batch_computation_over_the_topics_says(
    folder: Path, settings: Settings
) -> None:
    bad = 10_000
    rng = random.Random(7)
    with stages.running(folder, settings):
        with Traffic(settings, rate=80, bad=0) as flowing:
            for _ in range(SECONDS * 10):
                for _ in range(bad // (SECONDS * 10) + 1):
                    flowing.send_bad(rng.choice(EVENTS), rng.choice(traffic.BAD))
                time.sleep(0.1)
        traffic.wait_until_final(settings)
        found, truth = traffic.compare(settings)
    assert found == []
    assert traffic.total(truth, "predictions") > 50 * SECONDS
