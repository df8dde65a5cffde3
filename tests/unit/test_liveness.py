"""When a consumer counts as dead."""

from streams.transport.liveness import Liveness, Vitals

IDLE = Vitals(lag=0, moves=5, due=False, commits=3, busy_since=None)


def test_idle_is_alive() -> None:
    liveness = Liveness(60)
    assert all(liveness.observe(now, IDLE) is None for now in range(0, 1000, 10))


def test_records_to_read_and_no_advance_for_the_patience_is_dead() -> None:
    liveness = Liveness(60)
    behind = IDLE._replace(lag=10)
    assert liveness.observe(0, behind) is None
    assert liveness.observe(60, behind) is None
    assert liveness.observe(61, behind) == "10 offsets behind, but nothing was read for 61 s"


def test_the_patience_starts_when_there_is_something_to_read() -> None:
    liveness = Liveness(60)
    liveness.observe(0, IDLE)
    liveness.observe(1000, IDLE)
    assert liveness.observe(1001, IDLE._replace(lag=1)) is None


def test_reading_is_alive_however_far_behind() -> None:
    liveness = Liveness(60)
    assert all(liveness.observe(n * 50, IDLE._replace(lag=1000, moves=n)) is None for n in range(20))


def test_reading_without_the_broker_taking_commits_is_dead() -> None:
    liveness = Liveness(60)
    for n in range(7):
        assert liveness.observe(n * 10, IDLE._replace(moves=n, due=True)) is None
    wrong = liveness.observe(70, IDLE._replace(moves=9, due=True))
    assert wrong == "offsets are to be committed, but the broker has taken none for 70 s"


def test_while_the_broker_is_silent_nothing_counts_and_then_the_patience_starts_anew() -> None:
    liveness = Liveness(60)
    behind = IDLE._replace(lag=10, due=True)
    liveness.observe(0, behind)
    liveness.unknown()
    assert liveness.observe(500, behind) is None
    assert liveness.observe(560, behind) is None
    assert liveness.observe(561, behind) is not None


def test_a_stage_that_waits_has_ten_times_the_patience() -> None:
    liveness = Liveness(60)
    waiting = IDLE._replace(lag=10, busy_since=0)
    assert liveness.observe(600, waiting) is None
    assert liveness.observe(601, waiting) == "one call of the stage has been running for 601 s"


def test_after_a_long_call_the_patience_starts_anew() -> None:
    liveness = Liveness(60)
    liveness.observe(0, IDLE._replace(lag=10))
    liveness.observe(300, IDLE._replace(lag=10, busy_since=0))
    assert liveness.observe(301, IDLE._replace(lag=10)) is None


def test_what_the_stage_holds_back_is_no_sign_of_death() -> None:
    liveness = Liveness(60)
    held = IDLE._replace(lag=10, held=10)
    assert all(liveness.observe(now, held) is None for now in range(0, 600, 10))


def test_what_is_not_held_back_is_one_whatever_else_is() -> None:
    liveness = Liveness(60)
    held = IDLE._replace(lag=11, held=10)
    assert liveness.observe(0, held) is None
    assert liveness.observe(61, held) == "11 offsets behind, but nothing was read for 61 s"


def test_a_stage_that_holds_all_back_that_there_is_to_read_has_ten_times_the_patience() -> None:
    liveness = Liveness(60)
    held = IDLE._replace(lag=10, held=10)
    assert liveness.observe(0, held) is None
    assert liveness.observe(600, held) is None
    wrong = liveness.observe(601, held)
    assert wrong == "the stage has held back all 10 offsets that there are to read for 601 s"


def test_while_others_move_a_stage_may_hold_back_what_it_wants() -> None:
    liveness = Liveness(60)
    held = IDLE._replace(lag=10, held=10)
    assert all(liveness.observe(n * 50, held._replace(moves=n)) is None for n in range(50))
