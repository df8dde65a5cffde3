"""How long the supervisor waits before it starts a process again, and which processes there are."""

import random

import msgspec
import pytest

from schemas.errors import HeadgateError
from schemas.receivers import Notify
from schemas.settings import Examples, Settings
from streams.backoff import FIRST_PAUSE, HEALTHY, LONGEST_PAUSE, Backoff
from streams.registry import STAGES
from streams.supervisor import children

WITH_RECEIVER = Settings(notify=Notify(webhook="http://127.0.0.1:9"))
WITH_SECRET = Settings(examples=Examples("a key that nobody else has"))


@pytest.fixture
def backoff() -> Backoff:
    return Backoff(random.Random(1))


def test_the_pause_doubles_with_every_death_in_a_row(backoff: Backoff) -> None:
    for deaths in range(6):
        longest = FIRST_PAUSE * 2**deaths
        assert longest / 2 <= backoff.pause(lived=0.1) <= longest


def test_the_pause_has_an_upper_bound(backoff: Backoff) -> None:
    assert max(backoff.pause(lived=0.1) for _ in range(2000)) <= LONGEST_PAUSE


def test_after_a_healthy_life_the_pause_is_the_first_again(backoff: Backoff) -> None:
    for _ in range(10):
        backoff.pause(lived=0.1)
    assert backoff.pause(lived=HEALTHY) <= FIRST_PAUSE


def test_pauses_differ_lest_all_stages_storm_a_broker_at_once() -> None:
    assert len({Backoff(random.Random(seed)).pause(lived=0.1) for seed in range(5)}) == 5


def test_all_stages_with_something_to_do_run_where_none_is_named() -> None:
    assert set(children([], Settings())) == set(STAGES) - {"notify", "examples"}
    assert set(children([], WITH_RECEIVER)) == set(STAGES) - {"examples"}
    assert set(children([], WITH_SECRET)) == set(STAGES) - {"notify"}


def test_a_stage_that_has_nothing_to_do_is_an_error_where_it_is_named() -> None:
    assert set(children(["notify"], WITH_RECEIVER)) == {"notify"}
    with pytest.raises(HeadgateError, match="stage notify: no receiver of alerts is configured: name one"):
        children(["join", "notify"], Settings())
    with pytest.raises(HeadgateError, match="stage examples: no raw records are to be kept: set HEADGATE_EX"):
        children(["examples"], WITH_RECEIVER)


def test_a_process_gets_the_settings_that_the_supervisor_has() -> None:
    settings = msgspec.structs.replace(
        Settings(), topics=msgspec.structs.replace(Settings().topics, prefix="mine.")
    )
    child = children(["join"], settings)["join"]
    assert msgspec.json.decode(child.input, type=Settings) == settings


def test_an_unknown_stage_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(HeadgateError, match="no stage is called 'jion'; expected join, judge, sink"):
        children(["jion"], Settings())
