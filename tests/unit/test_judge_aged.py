"""A release that has run for a month costs no more than one of a day: a look, the checkpoint, a start."""

import pytest

from tests.bench.judge_age import DAY, Aging


@pytest.mark.timeout(120)
def test_a_release_of_thirty_days_is_looked_at_kept_and_taken_over_as_one_of_three() -> None:
    aging = Aging(pane=3_600_000)
    young, old = aging.age(3 * DAY), aging.age(30 * DAY)
    assert aging.record.phase == "canary"
    assert old.panes == 720
    assert max(old.reread, young.reread) < 70
    assert old.start_s < 20
    assert young.checkpoint * 0.9 < old.checkpoint < 200_000
    assert old.checkpoint < 1.5 * young.checkpoint
