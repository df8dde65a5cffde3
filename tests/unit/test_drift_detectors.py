"""Change detectors on final panes: against river itself, against chance, and across restarts."""

import random

import numpy as np
import pytest
from river.drift import ADWIN, PageHinkley

from schemas.records import Detection
from streams.judge.rules.changes import Adwin
from streams.judge.rules.changes import PageHinkley as Page
from streams.judge.rules.detectors import BLOCK, WARM_UP, Detectors, Series

PANE = 10_000
START = 1_800_000_000_000 // (BLOCK * PANE) * BLOCK * PANE
"""The start of a block."""
STABLE = Series("v1", "stable", PANE)


def clicks(rate: float, panes: int, seed: int = 0, impressions: int = 200) -> list[dict[str, float]]:
    """The sums of some panes with about so many clicks."""
    chance = np.random.default_rng(seed)
    return [
        {"impressions": float(impressions), "clicks": float(chance.binomial(impressions, rate))}
        for _ in range(panes)
    ]


def observed(
    detectors: Detectors, sums: list[dict[str, float]], first: int = 0, series: Series = STABLE
) -> list[Detection]:
    """What the detectors say of panes, the first of which is number `first`."""
    found = [detectors.observe(series, START + place * PANE, one) for place, one in enumerate(sums, first)]
    return [detection for detection in found if detection is not None]


def fired(detections: list[Detection], method: str) -> list[int]:
    """Numbers of the panes in which a detector noticed a change of the CTR."""
    return [
        (detection.start - START) // PANE
        for detection in detections
        if method in detection.changed.get("ctr", [])
    ]


@pytest.mark.parametrize("seed", range(4))
def test_adwin_and_page_hinkley_are_rivers_at_every_value_and_after_every_change(seed: int) -> None:
    chance = np.random.default_rng(seed)
    levels = np.repeat(chance.uniform(0.2, 0.8, 30), 100)
    values = np.clip(chance.normal(levels, 0.08), 0, 1).tolist()
    ours = (Adwin(0.002), Page(30, 0.5, 12.0))
    rivers = (
        ADWIN(delta=0.002, clock=1),  # type: ignore[no-untyped-call]
        PageHinkley(min_instances=30, delta=0.5, threshold=12.0, alpha=1.0),
    )
    changes = [0, 0]
    for value in values:
        for place, scaled in enumerate((value, (value - 0.5) * 8)):
            ours[place].update(scaled)
            rivers[place].update(scaled)  # type: ignore[no-untyped-call]
            assert ours[place].drift_detected == rivers[place].drift_detected
            changes[place] += ours[place].drift_detected
    assert min(changes) >= 10


def test_they_are_rivers_on_deviations_from_the_first_panes() -> None:
    sums = clicks(0.05, 200) + clicks(0.07, 200, seed=1)
    values = np.array([one["clicks"] / one["impressions"] for one in sums])
    usual = values[:WARM_UP]
    deviations = np.clip((values - usual.mean()) / usual.std(ddof=1), -4, 4)
    adwin = ADWIN(delta=0.002, clock=1)  # type: ignore[no-untyped-call]
    page_hinkley = PageHinkley(min_instances=30, delta=0.5, threshold=12.0, alpha=1.0)
    expected: dict[str, list[int]] = {"adwin": [], "page_hinkley": []}
    for place, deviation in enumerate(deviations):
        adwin.update((deviation + 4) / 8)  # type: ignore[no-untyped-call]
        page_hinkley.update(deviation)  # type: ignore[no-untyped-call]
        for name, detector in (("adwin", adwin), ("page_hinkley", page_hinkley)):
            if detector.drift_detected and place >= WARM_UP - 1:
                expected[name].append(place)
    found = observed(Detectors("ranker"), sums)
    assert {name: fired(found, name) for name in expected} == expected
    assert all(expected.values()), "or nothing was compared"


@pytest.mark.parametrize("method", ["adwin", "page_hinkley"])
def test_a_change_is_noticed_after_it_and_not_before(method: str) -> None:
    found = observed(Detectors("ranker"), clicks(0.05, 300) + clicks(0.08, 200, seed=1))
    first, *_ = fired(found, method)
    assert 300 < first < 400


@pytest.mark.parametrize("method", ["adwin", "page_hinkley"])
@pytest.mark.parametrize(("rate", "impressions"), [(0.05, 200), (0.005, 100), (0.5, 10)])
def test_chance_alone_is_hardly_ever_a_change(method: str, rate: float, impressions: int) -> None:
    false = [
        fired(observed(Detectors("ranker"), clicks(rate, 900, seed, impressions)), method)
        for seed in range(20)
    ]
    assert sum(map(len, false)) <= 1  # in 18,000 panes


def test_a_single_odd_pane_is_no_change() -> None:
    sums = clicks(0.05, 300)
    sums[200] = {"impressions": 3.0, "clicks": 3.0}
    found = observed(Detectors("ranker"), sums)
    assert [fired(found, method) for method in ("adwin", "page_hinkley")] == [[], []]


def test_errors_where_there_never_were_any_are_a_change_once_there_are_more_than_one() -> None:
    quiet = [{"predictions": 100.0, "errors": 0.0}] * 100
    detectors = Detectors("ranker")
    assert not any(
        one.changed for one in observed(detectors, [*quiet, {"predictions": 100.0, "errors": 1.0}])
    )
    broken = observed(detectors, [{"predictions": 100.0, "errors": 20.0}] * 60, first=101)
    assert any("page_hinkley" in one.changed.get("error_rate", []) for one in broken)
    assert any("adwin" in one.changed.get("error_rate", []) for one in broken)


def test_a_pane_tells_numerators_and_denominators_of_what_it_has() -> None:
    sums = {
        "predictions": 10.0, "errors": 1.0, "impressions": 0.0, "latency_ms": 500.0, "timed": 9.0,
        "pairs": 40.0, "log_loss": 8.0, "expected_positives": 6.0, "positives": 4.0,
    }  # fmt: skip
    (found,) = observed(Detectors("ranker"), [sums])
    assert found.values == {
        "calibration": (6.0, 4.0),
        "log_loss": (8.0, 40.0),
        "error_rate": (1.0, 10.0),
        "latency_mean_ms": (500.0, 9.0),
    }


def test_a_pane_without_any_of_the_metrics_says_nothing() -> None:
    assert observed(Detectors("ranker"), [{"late": 3.0}]) == []


def test_versions_and_arms_have_detectors_of_their_own() -> None:
    detectors = Detectors("ranker")
    other = Series("v2", "candidate", PANE)
    observed(detectors, clicks(0.05, 300))
    observed(detectors, clicks(0.05, 300), series=other)
    assert any(one.changed for one in observed(detectors, clicks(0.1, 60), first=300, series=other))
    assert not any(one.changed for one in observed(detectors, clicks(0.05, 60, seed=1), first=300))


def test_a_pane_that_is_not_after_the_last_is_left_out() -> None:
    detectors = Detectors("ranker")
    observed(detectors, clicks(0.05, 3))
    assert observed(detectors, clicks(0.9, 3)) == []


@pytest.mark.parametrize("until", [50, 700, BLOCK - 1, BLOCK, BLOCK + 10, 2 * BLOCK + 500, 3 * BLOCK + 5])
def test_a_successor_that_recalls_what_is_needed_notices_the_same(until: int) -> None:
    first = 17  # in the midst of a block
    rates = random.Random(until)
    sums = [one for _ in range(18) for one in clicks(rates.choice([0.04, 0.06]), 250, rates.randrange(99))]
    whole = Detectors("ranker")
    detections = observed(whole, sums, first)

    before = Detectors("ranker")
    written = observed(before, sums[:until], first)
    needed = before.needed()
    assert needed is not None
    successor = Detectors("ranker")
    for detection in written:
        if detection.start >= needed:
            successor.recall(detection)
    again = observed(successor, sums[:until], first)  # the log is read again from an older place
    assert again == []
    assert observed(successor, sums[until:], first + until) == detections[until:]
    assert any(one.changed for one in detections[until:])


def test_what_is_needed_is_never_more_than_two_blocks() -> None:
    detectors = Detectors("ranker")
    observed(detectors, clicks(0.05, 3 * BLOCK))
    assert detectors.needed() == START + BLOCK * PANE


def test_a_series_that_has_fallen_silent_is_forgotten() -> None:
    detectors = Detectors("ranker")
    observed(detectors, clicks(0.05, 10))
    detectors.forget(START + 2 * BLOCK * PANE)
    assert detectors.needed() is None
