"""Laws of the join core: whatever is read in whatever order and however often, its final panes are the
truth's."""

import numpy as np
from hypothesis import Phase, given, settings

from schemas.topics import PREDICTIONS
from streams.join.references import References
from streams.metrics import tallies
from streams.metrics.tallies import Tally
from tests.oracle import random_streams as streams
from tests.oracle.lives import Move, emitted, play
from tests.oracle.panes import Key, differences, key_of, measure
from tests.oracle.random_streams import Log
from tests.oracle.truth import compute

TIMELINE = streams.timeline()
PROFILES = References()
for profile in streams.PROFILES:
    PROFILES.add(profile)
MANY = settings(
    max_examples=100, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)
)


@MANY
@given(streams.logs(1), streams.readings())
def test_final_panes_are_those_of_the_batch_truth_in_whatever_order_the_topics_are_read(
    log: Log, moves: list[Move]
) -> None:
    panes = emitted(log, 1, TIMELINE, moves, PROFILES)
    assert differences(compute(log, 1, TIMELINE, streams.PROFILES), measure(panes)) == []


@MANY
@given(streams.logs(2), streams.readings())
def test_source_partitions_add_up_to_the_batch_truth(log: Log, moves: list[Move]) -> None:
    panes = emitted(log, 2, TIMELINE, moves, PROFILES)
    assert differences(compute(log, 2, TIMELINE, streams.PROFILES), measure(panes)) == []


@MANY
@given(streams.logs(1), streams.lives())
def test_no_number_of_crashes_changes_a_final_pane(log: Log, moves: list[Move]) -> None:
    panes = emitted(log, 1, TIMELINE, moves, PROFILES)
    assert differences(compute(log, 1, TIMELINE, streams.PROFILES), measure(panes)) == []


@MANY
@given(streams.logs(1), streams.lives())
def test_what_was_emitted_as_final_is_not_emitted_again_in_the_same_life(log: Log, moves: list[Move]) -> None:
    for life in play(log, 0, 1, TIMELINE, moves, PROFILES):
        final: set[Key] = set()
        for round_ in life.rounds:
            for pane in round_.panes:
                assert key_of(pane) not in final
                if pane.deadline < round_.reached:
                    final.add(key_of(pane))


@MANY
@given(streams.logs(1), streams.lives())
def test_no_open_pane_is_emitted_before_all_is_read_again(log: Log, moves: list[Move]) -> None:
    for life in play(log, 0, 1, TIMELINE, moves, PROFILES):
        for round_ in life.rounds:
            assert round_.caught_up or all(pane.deadline < round_.reached for pane in round_.panes)


@MANY
@given(streams.logs(1), streams.readings())
def test_a_snapshot_says_the_same_whether_it_is_written_or_asked(log: Log, moves: list[Move]) -> None:
    for life in play(log, 0, 1, TIMELINE, moves, PROFILES):
        for round_ in life.rounds:
            asked = [_plain(tally) for _, tally in round_.told.tallied()]
            assert asked == [_plain(tallies.of(pane)) for pane in round_.panes]


@MANY
@given(streams.logs(1, topics=(PREDICTIONS,)), streams.readings())
def test_every_prediction_is_counted_once_as_counted_duplicate_late_or_lost(
    log: Log, moves: list[Move]
) -> None:
    measured = measure(emitted(log, 1, TIMELINE, moves, PROFILES))
    verdicts = ("predictions", "duplicates", "late", "dead_letters", "mispartitioned")
    total = sum(m.sums[name] for s, m in measured.items() for name in verdicts if not s.segment)
    records = [raw for partitions in log.values() for raw in partitions[0]]
    copies = [raw.headers for raw in records if raw.headers]
    assert total == len(records) - (len(copies) - len(set(copies)))


def _plain(tally: Tally) -> dict[str, dict[object, object]]:
    """All that it says, by field."""
    return {
        name: {key: np.asarray(value).tolist() for key, value in field.items()}
        for name, field in tally._asdict().items()
    }
