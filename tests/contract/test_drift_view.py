"""The view `drift` on the real engine: the numbers of `streams.metrics.drift`, three kinds told apart."""

import json
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr
from scipy.stats import wasserstein_distance

from schemas.records import Detection, Distribution, PolicyRecord, Profile
from streams.metrics import drift, reference
from tests.contract.view_world import NOON, SECOND, Database, pane

AGES = Distribution(counts=[30, 40, 30], edges=[18.0, 65.0], lowest=0.0, highest=100.0, deviation=20.0)
COUNTRIES = Distribution(counts=[60, 30, 10], categories=["nz", "de"])
SCORES = Distribution(counts=[50, 50], edges=[0.5], lowest=0.0, highest=1.0, deviation=0.25)


def profile(**features: Distribution) -> Profile:
    """The reference of v1 of `ranker`."""
    score = features.pop("score", None)
    return Profile(model="ranker", version="v1", ts=NOON, features=features, score=score)


def policy(**limits: float) -> PolicyRecord:
    """A policy of `ranker` that has these thresholds."""
    text = json.dumps({"model": "ranker", "drift": limits})
    return PolicyRecord(model="ranker", ts=NOON, policy=msgspec.Raw(text.encode()), actor="ann")


def values(database: Database, feature: str) -> dict[str, float | None]:
    """What the view says of a feature, by method."""
    return dict(database.read(f"SELECT method, value FROM drift WHERE feature = '{feature}'"))


def column(database: Database, name: str, method: str = "psi") -> list[object]:
    """A column of the rows of one method."""
    return [value for (value,) in database.read(f"SELECT {name} FROM drift WHERE method = '{method}'")]


# Distances


@pytest.mark.parametrize("counts", [[10, 5, 0], [0, 0, 7], [300, 401, 299], [1, 0, 0]])
def test_numbers_are_compared_as_scipy_does_with_each_bin_at_its_middle(
    database: Database, counts: list[int]
) -> None:
    database.write(profile(age=AGES), pane(features={"age": counts}))
    live, expected = (np.array(c) / sum(c) for c in (counts, AGES.counts))
    floored = [np.maximum(p, 1e-4) for p in (live, expected)]
    middles = [9.0, 41.5, 82.5]
    assert values(database, "age") == {
        "psi": pytest.approx(rel_entr(*floored).sum() + rel_entr(*reversed(floored)).sum()),
        "js": pytest.approx(jensenshannon(live, expected, base=2), abs=1e-7),
        "ks": pytest.approx(np.abs(np.cumsum(live - expected)).max()),
        "wasserstein": pytest.approx(wasserstein_distance(middles, middles, live, expected) / 20.0),
    }


def test_categories_are_compared_without_an_order(database: Database) -> None:
    database.write(profile(country=COUNTRIES), pane(features={"country": [2, 3, 5]}))
    apart = (0.4 + 0.0 + 0.4) / 2
    found = values(database, "country")
    assert [found["ks"], found["wasserstein"]] == pytest.approx([apart, apart])
    assert found["js"] == pytest.approx(jensenshannon([2, 3, 5], [6, 3, 1], base=2))


@pytest.mark.parametrize("seed", range(3))
def test_the_view_says_what_the_judge_and_replays_compute(database: Database, seed: int) -> None:
    random = np.random.default_rng(seed)
    profiles = {
        "normal": reference.numbers(random.normal(5, 3, 5_000)),
        "counts": reference.numbers(random.poisson(2, 5_000)),
        "constant": reference.numbers([7.0] * 10),
        "words": reference.words(random.choice(list("abcdef"), 500)),
        "bare": Distribution(counts=[3, 4], edges=[0.0]),
    }
    live = {name: random.integers(0, 9, len(one.counts)).tolist() for name, one in profiles.items()}
    database.write(profile(**profiles), pane(features=live))
    for name, one in profiles.items():
        for method, distance in drift.METHODS.items():
            expected = distance(live[name], one)
            found = values(database, name)[method]
            assert found == (None if expected is None else pytest.approx(expected, abs=1e-9)), (name, method)


def test_all_partitions_and_generations_of_a_pane_are_taken_together(database: Database) -> None:
    database.write(profile(age=AGES), pane(features={"age": [3, 0, 0]}))
    database.write(
        pane(partition=1, features={"age": [0, 4, 0]}), pane(generation=2, features={"age": [0, 0, 3]})
    )
    assert values(database, "age")["ks"] == pytest.approx(0.0)


def test_nothing_is_known_where_nothing_was_seen(database: Database) -> None:
    database.write(profile(age=AGES), pane(features={"age": [0, 0, 0]}))
    assert set(values(database, "age").values()) == {None}
    assert set(column(database, "drifted")) == {False}


def test_a_version_is_held_against_its_first_profile(database: Database) -> None:
    other = Distribution(counts=[98, 1, 1], edges=[18.0, 65.0])
    database.write(profile(age=AGES), profile(age=other), pane(features={"age": [3, 4, 3]}))
    assert values(database, "age")["psi"] == pytest.approx(0.0)


def test_tallies_in_other_bins_than_the_profiles_are_not_compared(database: Database) -> None:
    database.write(profile(age=AGES), pane(features={"age": [5, 5], "city": [1, 2, 3]}))
    assert database.read("SELECT feature FROM drift") == []


# Thresholds and kinds


def test_each_method_has_its_own_threshold_and_the_latest_policys(database: Database) -> None:
    database.write(profile(age=AGES), pane(features={"age": [34, 40, 26]}))
    query = "SELECT method, threshold, drifted FROM drift ORDER BY method"
    defaults = [("js", 0.1, False), ("ks", 0.1, False), ("psi", 0.2, False), ("wasserstein", 0.1, True)]
    assert database.read(query) == defaults
    database.write(policy(psi=0.001), policy(ks=0.01, psi=0.1), first=3)
    assert database.read(query) == [
        ("js", 0.1, False), ("ks", 0.01, True), ("psi", 0.1, False), ("wasserstein", 0.1, True)
    ]  # fmt: skip


def test_features_are_data_and_the_score_is_prediction(database: Database) -> None:
    database.write(profile(age=AGES, score=SCORES), pane(features={"age": [3, 4, 3], "score": [1, 1]}))
    found = database.read("SELECT feature, kind FROM drift WHERE method = 'psi' ORDER BY feature")
    assert found == [("age", "data"), ("score", "prediction")]


# Data quality


def rates(database: Database, **quality: Sequence[int]) -> dict[str, float | None]:
    database.write(pane(quality={name: list(counts) for name, counts in quality.items()}))
    query = "SELECT feature, method, value FROM drift WHERE endsWith(method, '_rate')"
    return {f"{feature} {method}": value for feature, method, value in database.read(query)}


def test_rates_are_shares_of_the_values_that_were_looked_at(database: Database) -> None:
    database.write(profile(age=AGES, country=COUNTRIES))
    found = rates(database, age=[200, 20, 4, 2, 0], country=[200, 0, 0, 10, 50])
    assert found == {
        "age missing_rate": 0.1, "age out_of_range_rate": 0.02, "age type_error_rate": 0.01,
        "country missing_rate": 0.0, "country type_error_rate": 0.05, "country unseen_rate": 0.25,
    }  # fmt: skip


def test_a_feature_that_was_always_missing_has_its_rates(database: Database) -> None:
    database.write(profile(age=AGES))
    assert rates(database, age=[10, 10, 0, 0, 0])["age missing_rate"] == 1.0
    assert values(database, "age")["psi"] is None


def test_rates_have_no_threshold_and_are_data(database: Database) -> None:
    database.write(profile(age=AGES))
    rates(database, age=[10, 10, 0, 0, 0])
    for name, expected in (("threshold", None), ("drifted", False), ("kind", "data")):
        assert column(database, name, "missing_rate") == [expected]


# Change detectors


def detection(**fields: object) -> Detection:
    plain = {"model": "ranker", "version": "v1", "arm": "stable", "start": NOON, "end": NOON + 10 * SECOND}
    return Detection(**(plain | fields))  # type: ignore[arg-type]


def test_what_a_detector_noticed_is_told_with_the_metrics_value(database: Database) -> None:
    database.write(
        detection(values={"ctr": (3.0, 100.0)}, changed={"ctr": ["adwin"]}),
        detection(start=NOON + 10 * SECOND, end=NOON + 20 * SECOND, values={"ctr": (1.0, 100.0)}),
    )
    query = "SELECT feature, method, value, threshold, drifted, seconds FROM drift ORDER BY pane, method"
    assert database.read(query) == [
        ("ctr", "adwin", 0.03, None, True, 10.0),
        ("ctr", "page_hinkley", 0.03, None, False, 10.0),
        ("ctr", "adwin", 0.01, None, False, 10.0),
        ("ctr", "page_hinkley", 0.01, None, False, 10.0),
    ]


def test_calibration_log_loss_and_ctr_are_concept_and_errors_and_latency_prediction(
    database: Database,
) -> None:
    names = ("calibration", "log_loss", "ctr", "error_rate", "latency_mean_ms")
    database.write(detection(values=dict.fromkeys(names, (1.0, 2.0))))
    found = dict(database.read("SELECT DISTINCT feature, kind FROM drift"))
    assert found == {
        **dict.fromkeys(("calibration", "log_loss", "ctr"), "concept"),
        **dict.fromkeys(("error_rate", "latency_mean_ms"), "prediction"),
    }


def test_the_same_detection_twice_is_one_row(database: Database) -> None:
    one = detection(values={"ctr": (3.0, 100.0)})
    database.write(one, one)
    database.write(one)
    assert database.read("SELECT count() FROM drift") == [(2,)]
