"""A law: totals that slide along with their windows are those of the windows, whatever came, changed or went
in between."""

from collections.abc import Mapping, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.policies import default
from streams.judge.facts.panes import Panes
from streams.judge.rules.drift import Drift
from streams.judge.rules.memory import Memory
from streams.judge.rules.read import Reader, Subject
from streams.judge.rules.scope import Scope
from streams.metrics import drift, evaluate, tallies
from streams.metrics.profiles import Profiles
from tests.judging import PANE, START, pane, take

SCOPE = Scope()
SUBJECTS = [Subject("error_rate", SCOPE), Subject("latency_p90_ms", SCOPE), Subject("errors", SCOPE)]

steps = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(0, 9), st.integers(0, 50), st.sampled_from(["v1", "v2"])),
        st.tuples(st.just("look"), st.integers(1, 10), st.integers(1, 8), st.just("")),
        st.tuples(st.just("forget"), st.integers(0, 5), st.just(0), st.just("")),
    ),
    max_size=40,
)


def filled(counts: Mapping[str, Sequence[int]]) -> dict[str, Sequence[int]]:
    """Without features that nobody had."""
    return {name: bins for name, bins in counts.items() if any(bins)}


@settings(deadline=None)
@given(steps)
def test_sliding_totals_are_those_of_the_windows(steps: list[tuple[str, int, int, str]]) -> None:
    panes = Panes()
    reader = Reader(panes, Drift("m", Profiles()), Memory("m"))
    for number, (what, place, size, version) in enumerate(steps):
        if what == "take":
            sums = {"errors": float(size), "predictions": float(size + place)}
            features = {"age": [size, place]} | ({"other": [1, 2, size]} if size % 3 else {})
            latency = {100 + size: 3, 120: place}
            take(
                panes,
                pane(
                    version,
                    START + place * PANE,
                    number=number,
                    sums=sums,
                    features=features,
                    latency=latency,
                ),
            )
        elif what == "forget":
            panes.finish(START + place * PANE + 10 * PANE)
            panes.forget(START + place * PANE)
        else:
            end = START + place * PANE
            start = end - size * PANE
            reader.begin(default("m"))
            windows = list(panes.between(start, end))
            held = [tally for window in windows for cell in window.cells.values() for tally in cell.tallies]
            for subject in SUBJECTS:
                metric = subject.found
                assert metric is not None and not isinstance(metric, drift.OfFeature)
                expected = evaluate.evaluate(metric, held, size * PANE / 1_000).value
                assert reader.value(subject, start, end).value == expected
            for version_ in ("v1", "v2"):
                mine = [
                    tally.features
                    for window in windows
                    for series, cell in window.cells.items()
                    if series.version == version_
                    for tally in cell.tallies
                ]
                assert filled(reader.counts(SCOPE, start, end).get(version_, {})) == filled(
                    tallies.add_lists(mine)
                )
