"""Events in, views out: the real broker, the real stages, the real ClickHouse, against the batch truth."""

import random
import time
from pathlib import Path

import pytest

from schemas.settings import Settings
from schemas.topics import EVENTS
from tests.oracle import stages, traffic
from tests.oracle.traffic import REFERENCE, SENTINEL, WATCHED, Traffic, Views

SECONDS = 15
BAD = 10_050
"""Bad records among the good ones."""


@pytest.fixture
def folder(tmp_path: Path, settings: Settings) -> Path:
    """A user's folder, with topics, policies and a reference profile in place."""
    stages.prepare(tmp_path, settings, WATCHED, SENTINEL)
    stages.publish(settings, REFERENCE)
    return tmp_path


@pytest.mark.timeout(240)
def test_the_views_say_what_a_batch_computation_over_the_topics_says_and_no_bad_record_is_lost(
    folder: Path, settings: Settings
) -> None:
    rng = random.Random(7)
    with stages.running(folder, settings):
        with Traffic(settings, rate=80, bad=0) as flowing:
            for _ in range(SECONDS * 10):
                for _ in range(BAD // SECONDS // 10):
                    flowing.send_bad(rng.choice(EVENTS), rng.choice(traffic.BAD))
                time.sleep(0.1)
        traffic.wait_until_final(settings)
        found, truth = traffic.compare(settings, profiles=[REFERENCE])
        letters = Views(settings).query("SELECT count(), uniq(topic, partition, offset) FROM dead_letters")
    assert found == [], "\n".join(found[:50])
    assert traffic.total(truth, "dead_letters") == BAD
    assert letters == [(BAD, BAD)]
    for name in ("late", "duplicates", "expired", "unmatched", "unanswered", "skewed", "mispartitioned"):
        assert traffic.total(truth, name) > 0, f"the traffic had no {name}"
    for name in ("positives", "labelled", "relevant_predictions", "hits@1"):
        assert traffic.total(truth, name) > 0, f"the traffic had no {name}"
    assert any(tally.quality for tally in truth.values())
