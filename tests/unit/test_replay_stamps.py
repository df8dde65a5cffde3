"""Kafka timestamps of records that were recorded without."""

import numpy as np

from schemas.records import DAY, YEAR_2000
from streams.replay.stamps import ABSENT, WITNESSES, Stamps

START = 1_767_225_600_000
FAR = 40 * 86_400
"""Seconds that no recording goes on by itself."""


def stamped(*times: int) -> list[int]:
    """In seconds after `START`, of `ts` in seconds after `START`."""
    found = Stamps().stamp(np.array([_ms(time) for time in times], np.int64), last=True)
    assert not found.undecided
    return [(stamp - START) // 1_000 for stamp in found.stamps.tolist()]


def _ms(seconds: int) -> int:
    return ABSENT if seconds == ABSENT else START + 1_000 * seconds


def test_a_stamp_is_the_highest_ts_so_far() -> None:
    assert stamped(0, 5, 3, 7, 6) == [0, 5, 5, 7, 7]


def test_records_without_a_ts_that_can_be_read_have_the_stamp_before_them() -> None:
    assert stamped(4, ABSENT, 5, ABSENT) == [4, 4, 5, 5]


def test_one_wrong_clock_does_not_make_late_what_follows() -> None:
    assert stamped(0, 1, FAR, 2, 3) == [0, 1, 1, 2, 3]
    assert stamped(0, 1, 2, FAR) == [0, 1, 2, 2]


def test_a_wrong_clock_at_the_beginning_does_not_either() -> None:
    assert stamped(FAR, 0, 1, 2)[1:] == [0, 1, 2]


def test_a_recording_may_have_a_gap_of_any_length() -> None:
    assert stamped(0, 1, FAR, FAR + 1, FAR + 2) == [0, 1, FAR, FAR + 1, FAR + 2]


def test_a_late_record_behind_the_gap_is_no_reason_to_doubt_it() -> None:
    assert stamped(0, FAR, 1, FAR + 1, FAR + 2) == [0, FAR, FAR, FAR + 1, FAR + 2]


def test_before_the_first_sane_ts_it_is_the_year_2000() -> None:
    found = Stamps().stamp(np.array([ABSENT, ABSENT, START], np.int64), last=True)
    assert found.stamps.tolist() == [YEAR_2000, YEAR_2000, START]


def test_a_lonely_record_is_believed() -> None:
    assert stamped(7) == [7]


def test_what_is_far_ahead_waits_for_its_witnesses() -> None:
    stamps = Stamps()
    first = stamps.stamp(np.full(WITNESSES + 1, START), last=False)
    assert (len(first.stamps), first.undecided) == (WITNESSES + 1, 0)
    ahead = START + 40 * DAY
    waiting = stamps.stamp(np.array([START + 1, ahead]), last=False)
    assert (waiting.stamps.tolist(), waiting.undecided) == ([START + 1], 1)
    after = [ahead, *[ahead + 1] * WITNESSES]
    assert stamps.stamp(np.array(after), last=False).stamps.tolist() == after
