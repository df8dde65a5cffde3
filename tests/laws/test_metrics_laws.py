"""Tallies are a commutative monoid, and a snapshot is a tally: for every tally there is."""

from collections.abc import Mapping

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as some

from schemas.records import BUCKETS, QUALITY, Pane, PaneRecord
from streams.metrics import catalogue, evaluate, tallies
from streams.metrics.tallies import EMPTY, RELIABILITY, Tally

LAW = settings(deadline=None, max_examples=60)

EXACT = some.integers(-(1 << 40), 1 << 40).map(lambda units: units / (1 << 30))
"""Multiples of 2^-30, as the join writes: adding them is exact."""
COUNTS = some.integers(0, 1 << 40)
BINS = some.integers(-400, 400)
NAMES = some.sampled_from(
    [
        "predictions",
        "clicks",
        "impressions",
        "hits@5",
        "hits@10",
        "relevant",
        "late",
        "log_loss",
        "pairs",
        "positives",
    ]
)
HISTOGRAMS = some.dictionaries(BINS, COUNTS, max_size=4)
ARRAYS = some.dictionaries(
    some.integers(0, BUCKETS - 1), some.integers(1, 1 << 30).map(lambda units: units / 1024), max_size=4
)


def array(filled: Mapping[int, float]) -> tallies.Floats:
    values = np.zeros(BUCKETS)
    values[list(filled)] = list(filled.values())
    return values


PANE = Pane(
    model="m", version="v", arm="stable", segment="", segment_value="", start=0, end=10, generation=1,
    partition=0, part=0, snapshot=1, deadline=20,
)  # fmt: skip

TALLIES = some.builds(
    Tally,
    sums=some.dictionaries(NAMES, EXACT, max_size=5),
    latency=HISTOGRAMS,
    click_delay=HISTOGRAMS,
    positive_scores=HISTOGRAMS,
    negative_scores=HISTOGRAMS,
    reliability=some.dictionaries(
        some.integers(0, 9), some.lists(EXACT, min_size=len(RELIABILITY), max_size=len(RELIABILITY))
    ),
    features=some.dictionaries(some.sampled_from(["age", "city"]), some.lists(COUNTS, max_size=5)),
    quality=some.dictionaries(
        some.sampled_from(["age", "city"]), some.lists(COUNTS, min_size=len(QUALITY), max_size=len(QUALITY))
    ),
    bucketed=some.dictionaries(some.sampled_from(["clicks", "predictions"]), ARRAYS.map(array), max_size=2),
).map(lambda tally: tallies.of(tallies.snapshot(tally, PANE)))
"""As they are read from snapshots: with the sums of all cut-offs for each of them."""


def written(tally: Tally) -> Pane:
    """A tally in a form that can be compared: the snapshot of it."""
    return tallies.snapshot(tally, PANE)


@LAW
@given(TALLIES, TALLIES, TALLIES)
def test_merging_is_associative(one: Tally, two: Tally, three: Tally) -> None:
    left = tallies.merge([tallies.merge([one, two]), three])
    right = tallies.merge([one, tallies.merge([two, three])])
    assert written(left) == written(right) == written(tallies.merge([one, two, three]))


@LAW
@given(TALLIES, TALLIES)
def test_merging_is_commutative(one: Tally, other: Tally) -> None:
    assert written(tallies.merge([one, other])) == written(tallies.merge([other, one]))


@LAW
@given(TALLIES)
def test_the_empty_tally_changes_nothing(tally: Tally) -> None:
    assert written(tallies.merge([tally, EMPTY])) == written(tallies.merge([EMPTY, tally])) == written(tally)
    assert written(tallies.merge([])) == written(EMPTY)


@LAW
@given(some.lists(TALLIES, max_size=6), some.data())
def test_it_does_not_matter_where_a_stream_is_cut_or_in_which_order_its_pieces_come(
    stream: list[Tally], data: some.DataObject
) -> None:
    shuffled = data.draw(some.permutations(stream))
    cut = data.draw(some.integers(0, len(stream)))
    pieces = [tallies.merge(shuffled[:cut]), tallies.merge(shuffled[cut:])]
    assert written(tallies.merge(pieces)) == written(tallies.merge(stream))


@LAW
@given(TALLIES, TALLIES)
def test_merging_changes_neither(one: Tally, other: Tally) -> None:
    before = msgspec.json.encode(written(one)), msgspec.json.encode(written(other))
    tallies.merge([one, other, one])
    assert (msgspec.json.encode(written(one)), msgspec.json.encode(written(other))) == before


@LAW
@given(TALLIES)
def test_a_snapshot_read_back_is_the_tally(tally: Tally) -> None:
    sent = msgspec.json.encode(written(tally))
    received = msgspec.json.decode(sent, type=PaneRecord)
    assert isinstance(received, Pane)
    assert written(tallies.of(received)) == written(tally)


@LAW
@given(TALLIES)
def test_a_retracted_snapshot_says_nothing(tally: Tally) -> None:
    retracted = msgspec.structs.replace(written(tally), retracted=True)
    assert tallies.of(retracted) is EMPTY


@LAW
@given(some.lists(TALLIES, min_size=1, max_size=4))
def test_metrics_are_the_same_of_parts_and_of_the_whole(several: list[Tally]) -> None:
    whole = tallies.merge(several)
    for row in evaluate.rows(whole, 60.0):
        metric = catalogue.find(row.metric)
        assert metric is not None
        assert evaluate.evaluate(metric, several, 60.0) == row
