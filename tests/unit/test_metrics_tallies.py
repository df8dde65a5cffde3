"""What a snapshot of a pane may not say, and how tallies add up (their laws: `tests/laws/`)."""

import msgspec
import numpy as np
import pytest

from schemas.records import BUCKETS, Pane
from streams.metrics import tallies
from streams.metrics.tallies import Tally

PANE = Pane(
    model="m", version="v", arm="stable", segment="", segment_value="", start=0, end=10, generation=1,
    partition=0, part=0, snapshot=1, deadline=20,
)  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"buckets": [BUCKETS], "bucket_sums": {"clicks": [1.0]}},
            f"found {BUCKETS}, expected numbers below",
        ),
        (
            {"buckets": [1, 2], "bucket_sums": {"clicks": [1.0]}},
            "bucket_sums.clicks: found 1 values, expected 2",
        ),
        (
            {"reliability": {3: [1.0, 0.3]}},
            "reliability.3: found 2 values, expected 3: pairs, scores, positives",
        ),
        ({"quality": {"age": [1, 2]}}, "quality.age: found 2 values, expected 5: values, missing"),
    ],
)
def test_a_snapshot_that_contradicts_itself_says_where(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match="found") as caught:
        tallies.of(msgspec.structs.replace(PANE, **fields))
    assert words in str(caught.value)


def test_histograms_add_up_bin_by_bin() -> None:
    merged = tallies.merge([Tally(latency={1: 2, 5: 1}), Tally(latency={5: 3})])
    assert merged.latency == {1: 2, 5: 4}


def test_features_that_were_tallied_in_fewer_bins_add_up_from_the_first() -> None:
    merged = tallies.merge([Tally(features={"age": [1, 2]}), Tally(features={"age": [1, 1, 1]})])
    assert merged.features == {"age": [2, 3, 1]}


def test_users_buckets_add_up_by_their_numbers() -> None:
    panes = [
        msgspec.structs.replace(PANE, buckets=buckets, bucket_sums={"clicks": [1.0] * len(buckets)})
        for buckets in ([3, 7], [7])
    ]
    merged = tallies.merge(map(tallies.of, panes))
    expected = np.zeros(BUCKETS)
    expected[[3, 7]] = 1, 2
    assert merged.bucketed["clicks"].tolist() == expected.tolist()
    assert tallies.snapshot(merged, PANE).buckets == [3, 7]


def test_what_a_pane_has_once_for_all_cut_offs_counts_at_those_that_it_has() -> None:
    """The policy's k was 10, then 5 and 10."""
    panes = [
        msgspec.structs.replace(
            PANE,
            sums={"relevant": 4.0, **hits},
            buckets=[3],
            bucket_sums={"relevant": [4.0], **{name: [value] for name, value in hits.items()}},
        )
        for hits in ({"hits@10": 4.0}, {"hits@5": 3.0, "hits@10": 4.0})
    ]
    merged = tallies.merge(map(tallies.of, panes))
    found = {name: (merged.sums[name], merged.bucketed[name].sum()) for name in merged.sums}
    assert {name: sums[0] for name, sums in found.items()} == {
        "relevant": 8.0, "relevant@5": 4.0, "relevant@10": 8.0, "hits@5": 3.0, "hits@10": 8.0,
    }  # fmt: skip
    assert all(plain == of_users for plain, of_users in found.values())
    assert tallies.of(tallies.snapshot(merged, PANE)).sums == merged.sums
