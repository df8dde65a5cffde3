"""A real classifier's scores and what came true later, through the join: classification and drift are what
scikit-learn, numpy and scipy say of the raw rows."""

import random
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from scipy import stats
from scipy.spatial import distance

from schemas import policies
from schemas.records import Distribution, Pane, Profile
from schemas.topics import FEEDBACK, PREDICTIONS, REQUESTS
from streams.metrics import drift
from tests.oracle import census, judged
from tests.oracle.census import NUMBERS, WORDS, Census, Person
from tests.oracle.recording import Recording, final_panes, metrics, overall

START = 1_767_225_600_000
HOUR = 3_600_000
APART = 600
WINDOW = 600_000
THRESHOLD = 0.4
POLICY = policies.parse(
    {
        "model": "employment",
        "pane": "60m",
        "attribution": {"window": "10m", "lateness": "1m"},
        "truth": "label",
        "threshold": THRESHOLD,
        "anomaly": 0.8,
    }
)


@dataclass(frozen=True)
class Known:
    """A person who was asked about, when (ms), and how much later the truth came; None: never."""

    person: Person
    ts: int
    delay: int | None

    @property
    def in_time(self) -> bool:
        return self.delay is not None and self.delay <= WINDOW


@pytest.fixture(scope="module")
def data() -> Census:
    return census.load(every=10)


@pytest.fixture(scope="module")
def known(data: Census) -> list[Known]:
    """One question every 0.6 s. Of twenty labels one never comes, and one too late to count."""
    rng = random.Random(1)
    delays = [None, WINDOW + 1_000, WINDOW]
    return [
        Known(
            person, START + number * APART, rng.choice([*delays, *(rng.randrange(WINDOW) for _ in range(17))])
        )
        for number, person in enumerate(data.analysis)
    ]


@pytest.fixture(scope="module")
def profile(data: Census) -> Profile:
    """The classifier's reference: its check on the year before."""
    ages = [float(person.features[NUMBERS[0]]) for person in data.reference]
    features = {NUMBERS[0]: _numbers(ages, np.unique(np.quantile(ages, np.arange(1, 20) / 20)))}
    for name in WORDS:
        words = Counter(str(person.features[name]) for person in data.reference)
        features[name] = Distribution(counts=[*words.values(), 0], categories=list(words))
    scores = [person.score for person in data.reference]
    score = _numbers(scores, np.quantile(scores, np.arange(1, 20) / 20))
    return Profile(model="employment", version="2014", ts=START, features=features, score=score)


def _numbers(values: list[float], edges: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Distribution:
    counts, _ = np.histogram(values, [-np.inf, *edges, np.inf])
    return Distribution(
        counts=counts.tolist(),
        edges=edges.tolist(),
        lowest=min(values),
        highest=max(values),
        deviation=float(np.std(values)),
    )


@pytest.fixture(scope="module")
def panes(known: list[Known], profile: Profile) -> list[Pane]:
    """A request with the features, an answer with one score and no items, and the label when it came."""
    recording = Recording()
    for number, one in enumerate(known):
        request_id = f"p{number}"
        recording.add(REQUESTS, one.ts, request_id, model="employment", features=one.person.features)
        recording.add(
            PREDICTIONS,
            one.ts,
            request_id,
            model="employment",
            version="2014",
            arm="stable",
            status="ok",
            latency_ms=1.0,
            scores=[one.person.score],
        )
        if one.delay is not None:
            came = one.ts + one.delay
            recording.add(FEEDBACK, came, request_id, kind="label", value=int(one.person.employed))
    return final_panes(recording, POLICY, profile)


def test_classification_of_every_hour_is_what_scikit_learn_says_of_the_labels_in_time(
    panes: list[Pane], known: list[Known]
) -> None:
    found = {s.start: rows for s, rows in metrics(panes).items() if s.version}
    hours = sorted({one.ts - one.ts % HOUR for one in known})
    assert sorted(found) == hours
    for hour in hours:
        some = [one for one in known if hour <= one.ts < hour + HOUR and one.in_time]
        scores, truth = [one.person.score for one in some], [one.person.employed for one in some]
        rows = found[hour]
        assert rows["accuracy"].denominator == len(some)
        for name, value in judged.classification(scores, truth, THRESHOLD).items():
            assert rows[name].value == pytest.approx(value, rel=1e-6), name
        area, bound = judged.roc_auc(scores, truth)
        assert rows["roc_auc"].value == pytest.approx(area, abs=bound)
        assert bound < 0.01
        assert rows["ece"].value == pytest.approx(judged.expected_calibration_error(scores, truth))


def test_regression_errors_are_numpys_and_late_labels_are_expired(
    panes: list[Pane], known: list[Known]
) -> None:
    some = [one for one in known if one.in_time]
    kept = np.array([one.person.score for one in some], np.float32).astype(float)
    off = np.abs(kept - [one.person.employed for one in some])
    found = overall(panes, "2014")
    assert found["mse"].value == pytest.approx((off**2).mean())
    assert found["mae"].value == pytest.approx(off.mean())
    assert found["anomaly_rate"].numerator == (off > 0.8).sum()
    late = sum(one.delay is not None and not one.in_time for one in known)
    assert found["expired"].value == late > 0


def test_features_and_scores_are_in_the_bins_that_numpy_puts_them_in(
    panes: list[Pane], known: list[Known], profile: Profile
) -> None:
    found = live(panes)
    for name, values in {
        NUMBERS[0]: [float(one.person.features[NUMBERS[0]]) for one in known],
        "score": [one.person.score for one in known],
    }.items():
        edges = profile.distributions()[name].edges or []
        counts, _ = np.histogram(values, [-np.inf, *edges, np.inf])
        assert found[name] == counts.tolist()
    for name in WORDS:
        words = Counter(str(one.person.features[name]) for one in known)
        categories = profile.features[name].categories or []
        counted = [words[word] for word in categories]
        assert found[name] == [*counted, words.total() - sum(counted)]


def test_drift_of_age_and_scores_is_scipys_of_the_raw_values_within_the_stated_bounds(
    panes: list[Pane], data: Census, profile: Profile
) -> None:
    found = live(panes)
    for name, before, after in (
        ("AGEP", _ages(data.reference), _ages(data.analysis)),
        ("score", [p.score for p in data.reference], [p.score for p in data.analysis]),
    ):
        reference = profile.distributions()[name]
        ks = drift.kolmogorov_smirnov(found[name], reference)
        shares = [np.asarray(counts) / sum(counts) for counts in (found[name], reference.counts)]
        exact = stats.ks_2samp(before, after).statistic
        assert ks is not None
        assert ks <= exact + 1e-12 <= ks + np.minimum(*shares).max() + 2e-12
        widths = np.diff([reference.lowest, *(reference.edges or ()), reference.highest])
        moved = drift.wasserstein(found[name], reference)
        assert reference.deviation is not None and moved is not None
        inside = np.clip(after, min(before), max(before))
        off = abs(moved * reference.deviation - stats.wasserstein_distance(before, inside))
        assert off <= ((shares[0] + shares[1]) * widths).sum() / 2


def test_drift_of_codes_is_the_jensen_shannon_distance_of_scipy(panes: list[Pane], profile: Profile) -> None:
    found = live(panes)
    for name in WORDS:
        reference = profile.features[name]
        expected = distance.jensenshannon(found[name], reference.counts, base=2)
        assert drift.jensen_shannon(found[name], reference) == pytest.approx(expected)


def _ages(people: list[Person]) -> list[float]:
    return [float(person.features["AGEP"]) for person in people]


def live(panes: list[Pane]) -> dict[str, list[int]]:
    """The bins of all panes together."""
    names = {name for pane in panes for name in pane.features}
    return {
        name: np.sum([pane.features[name] for pane in panes if name in pane.features], axis=0).tolist()
        for name in names
    }
