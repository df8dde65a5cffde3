"""Who is silent, who has returned, and how long a release waits before it goes on by itself."""

import pytest

from streams.judge.releases.presence import HOUR, Arm, Heard, Presence, calm, returned, silence
from streams.judge.releases.verdict import Cause

PATIENCE = 10
NOW = 1_000


def arm(name: str, last: int, since: int = 0) -> Arm:
    return Arm(name, Heard(since, last))


@pytest.mark.parametrize(
    ("stable", "candidate", "told", "unanswered", "since", "cause", "words"),
    [
        # All speak.
        (995, 995, 999, 0, 0, None, ""),
        (990, 990, 999, 0, 0, None, ""),
        # One arm is silent while the other has data.
        (995, 989, 999, 0, 0, Cause.NO_DATA, "no data of candidate"),
        (989, 995, 999, 0, 0, Cause.NO_DATA, "no data of stable"),
        (995, 0, 999, 0, 0, Cause.NO_DATA, "no data of candidate"),
        # Nobody is answered.
        (989, 989, 999, 0, 0, Cause.NO_TRAFFIC, "no requests"),
        (0, 0, 999, 0, 0, Cause.NO_TRAFFIC, "no data of stable and candidate"),
        (989, 989, 999, 995, 0, Cause.NO_TRAFFIC, "requests go unanswered"),
        (989, 989, 999, 989, 0, Cause.NO_TRAFFIC, "no requests"),
        # Panes have stopped: nothing can be said of traffic.
        (989, 989, 989, 0, 0, Cause.NO_DATA, "metrics.panes has stopped"),
        (989, 989, None, 0, 0, Cause.NO_DATA, "metrics.panes has stopped"),
        (995, 989, 980, 0, 0, Cause.NO_DATA, "metrics.panes has stopped"),
        # Panes may come late as long as the arms had data in time.
        (995, 995, 980, 0, 0, None, ""),
        # Patience counts from the generation's beginning.
        (0, 0, 999, 0, 990, None, ""),
        (0, 0, None, 0, 990, None, ""),
        (0, 0, 999, 0, 989, Cause.NO_TRAFFIC, "no traffic"),
    ],
)
def test_silence(
    stable: int,
    candidate: int,
    told: int | None,
    unanswered: int,
    since: int,
    cause: Cause | None,
    words: str,
) -> None:
    arms = (arm("stable", stable), arm("candidate", candidate))
    found = silence(arms, told, unanswered, since, PATIENCE, NOW)
    assert (found.cause if found else None) == cause
    assert words in (found.reason if found else "")


def test_where_only_one_arm_ought_to_have_data_its_silence_is_no_traffic() -> None:
    found = silence([arm("stable", 900)], 999, 0, 0, PATIENCE, NOW)
    assert found is not None
    assert found.cause is Cause.NO_TRAFFIC


@pytest.mark.parametrize(
    ("stable", "candidate", "paused", "needed", "back"),
    [
        ((0, 101), (0, 101), 100, 0, True),
        ((0, 101), (0, 100), 100, 0, False),
        ((0, 100), (0, 100), 100, 0, False),
        ((50, 200), (110, 190), 100, 80, True),
        ((50, 200), (111, 190), 100, 80, False),
        ((120, 200), (110, 190), 100, 80, False),
        ((0, 500), (499, 500), 100, 80, False),
    ],
)
def test_data_are_back_when_both_arms_have_had_them_together_for_long_enough(
    stable: tuple[int, int], candidate: tuple[int, int], paused: int, needed: int, back: bool
) -> None:
    arms = (Arm("stable", Heard(*stable)), Arm("candidate", Heard(*candidate)))
    assert returned(arms, paused, needed) == back


def test_each_pause_for_want_of_data_needs_a_longer_calm_up_to_an_hour() -> None:
    minutes = [calm(pauses, 120_000) // 60_000 for pauses in range(1, 10)]
    assert minutes == [0, 2, 4, 8, 16, 32, 60, 60, 60]
    assert calm(1_000, 1) == HOUR


def test_a_patience_longer_than_an_hour_is_the_longest_calm() -> None:
    assert [calm(pauses, 3 * HOUR) for pauses in (1, 2, 3)] == [0, 3 * HOUR, 3 * HOUR]


def test_a_gap_begins_anew_and_disorder_does_not() -> None:
    heard = Presence()
    for at in (100, 105, 103, 110):
        heard.hear("v1", at, gap=10)
    assert heard.of("v1") == Heard(100, 110)
    heard.hear("v1", 121, gap=10)
    assert heard.of("v1") == Heard(121, 121)


def test_what_a_predecessor_heard_counts_on() -> None:
    heard = Presence()
    heard.recall({"v1": Heard(100, 110)}, 50)
    heard.hear("v1", 115, gap=10)
    assert heard.of("v1") == Heard(100, 115)
    assert heard.of("v2").last == 0
    assert heard.unanswered == 50
