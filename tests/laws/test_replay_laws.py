"""What a replay finds is a function of the recording alone, and is what the definitions say."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.replay import agenda
from streams.replay.known import Known
from tests import replaying
from tests.oracle import random_streams as streams
from tests.oracle.random_streams import BASE, PROFILES, Log
from tests.oracle.truth import compute
from tests.oracle.views import disagreements, rows

FEW = settings(max_examples=30, deadline=None)
TOLERANCE = 300_000


def preamble() -> list[bytes]:
    """The policies of `random_streams.timeline`, and its profiles, as they were published."""
    timeline = streams.timeline()
    published = {"a": (BASE, BASE + 8_000, BASE + 82_500), "b": (BASE,)}
    lines = [
        replaying.policy_line(entry.policy, ts, timestamp=ts)
        for model, times in published.items()
        for entry, ts in zip(timeline.entries(model), times, strict=True)
    ]
    return lines + [replaying.profile_line(profile) for profile in PROFILES]


@FEW
@given(streams.logs(2))
def test_the_rows_are_those_that_the_definitions_make_of_the_log(log: Log) -> None:
    printed = replaying.replayed([*preamble(), *replaying.recorded(log)], Known(count=2, settling=TOLERANCE))
    truth = compute(log, 2, streams.timeline(), PROFILES)
    whole = {series: tally for series, tally in truth.items() if not series.segment}
    assert disagreements(rows(whole, streams.timeline()), replaying.values(printed)) == []


@FEW
@given(streams.logs(2), st.integers(40, 3_000))
def test_however_the_lines_are_cut_the_bytes_are_the_same(log: Log, size: int) -> None:
    lines = [*preamble(), *replaying.recorded(log)]
    known = Known(count=2, settling=TOLERANCE, unfinal=True)
    assert replaying.output(lines, known, size) == replaying.output(lines, known)


@settings(FEW, max_examples=10)
@given(streams.logs(2), st.integers(1, 20))
def test_however_much_is_fed_at_once_the_same_lines_are_said(log: Log, portion: int) -> None:
    lines = [*preamble(), *replaying.recorded(log)]
    known = Known(count=2, settling=TOLERANCE, unfinal=True)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(agenda, "PORTION", portion)
        found = replaying.output(lines, known)
    assert sorted(found.splitlines()) == sorted(replaying.output(lines, known).splitlines())
