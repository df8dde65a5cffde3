"""The oracle's own formulas, held against other people's code: recbole's evaluator, scikit-learn, scipy."""

import random

import numpy as np
import pytest
from sklearn import metrics as sklearn

from schemas.records import Distribution
from tests.oracle import ranking, references, scores
from tests.oracle.evaluator import Evaluator, table
from tests.oracle.scores import Pair

KS = (1, 2, 5, 10, 30)
ITEMS = [f"i{number}" for number in range(40)]


@pytest.fixture(scope="module")
def recbole() -> Evaluator:
    return Evaluator()


@pytest.fixture(scope="module")
def lists() -> list[tuple[list[str], set[str]]]:
    """Lists of all lengths, some with repeated items, and relevant items, some of them in no list."""
    rng = random.Random(1)
    return [
        (rng.choices(ITEMS, k=rng.randrange(25)), set(rng.choices(ITEMS, k=rng.randint(1, 12))))
        for _ in range(500)
    ]


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    """Scores that are somewhat right, many of them equal, all of 0 and 1 among them."""
    rng = random.Random(2)
    some = [rng.choice([0.0, 1.0, 0.5, 0.3, rng.betavariate(1, 3)]) for _ in range(2_000)]
    return [Pair(scores.single(score), rng.random() < 0.1 + 0.8 * score, score >= 0.3) for score in some]


def test_ranking_sums_are_those_of_recboles_evaluator(
    recbole: Evaluator, lists: list[tuple[list[str], set[str]]]
) -> None:
    hits, relevant = table([items for items, _ in lists], [wanted for _, wanted in lists], 30)
    for row, (items, wanted) in enumerate(lists):
        counts, gains = ranking.counts(items, wanted, KS), ranking.gains(items, wanted, KS)
        one, of = hits[[row]], relevant[[row]]
        assert gains["reciprocal_rank"] == pytest.approx(recbole.mrr(one)[0, -1])
        for k in KS:
            assert counts[f"hits@{k}"] / counts[f"places@{k}"] == pytest.approx(
                recbole.precision(one)[0, k - 1]
            )
            assert counts[f"hits@{k}"] / counts["relevant"] == pytest.approx(
                recbole.recall(one, of)[0, k - 1]
            )
            assert counts[f"hit_predictions@{k}"] == recbole.hit(one)[0, k - 1]
            assert gains[f"ndcg@{k}"] == pytest.approx(recbole.ndcg(one, of)[0, k - 1])
            assert gains[f"average_precision@{k}"] == pytest.approx(recbole.map(one, of)[0, k - 1])


def test_ndcg_of_lists_with_all_relevant_items_is_that_of_scikit_learn() -> None:
    rng = random.Random(3)
    for _ in range(100):
        items = rng.sample(ITEMS, 20)
        wanted = set(rng.sample(items, rng.randint(1, 20)))
        truth, worth = [[item in wanted for item in items]], [list(range(20, 0, -1))]
        gains = ranking.gains(items, wanted, KS)
        for k in (1, 2, 5, 10):
            assert gains[f"ndcg@{k}"] == pytest.approx(sklearn.ndcg_score(truth, worth, k=k))


def test_nothing_is_added_where_no_item_is_relevant() -> None:
    assert ranking.counts(ITEMS, set(), KS) == ranking.gains(ITEMS, set(), KS) == {}


def test_classification_sums_make_scikit_learns_metrics(pairs: list[Pair]) -> None:
    truth, score = [pair.positive for pair in pairs], [pair.score for pair in pairs]
    guess = [pair.predicted for pair in pairs]
    sums: dict[str, float] = {}
    for pair in pairs:
        for name, value in {**scores.counts(pair), **scores.losses(pair)}.items():
            sums[name] = sums.get(name, 0) + value
    n, hits = sums["pairs"], sums["true_positives"]
    assert sums["correct"] / n == pytest.approx(sklearn.accuracy_score(truth, guess))
    assert hits / sums["predicted_positives"] == pytest.approx(sklearn.precision_score(truth, guess))
    assert hits / sums["positives"] == pytest.approx(sklearn.recall_score(truth, guess))
    f1 = 2 * hits / (sums["positives"] + sums["predicted_positives"])
    assert f1 == pytest.approx(sklearn.f1_score(truth, guess))
    clipped = np.clip(np.array(score), scores.CLIP, 1 - scores.CLIP)
    # The double next to 1 − 1e-15 is off by a ten-thousandth of what is missing to 1.
    assert sums["log_loss"] / n == pytest.approx(sklearn.log_loss(truth, clipped), rel=1e-4)
    assert sums["squared_score_error"] / n == pytest.approx(sklearn.brier_score_loss(truth, score))


def test_regression_sums_make_scikit_learns_metrics() -> None:
    rng = random.Random(4)
    given = [(scores.single(rng.gauss(3, 2)), rng.gauss(3, 2)) for _ in range(500)]
    found = [scores.errors(score, label) for score, label in given]
    guess, truth = zip(*given, strict=True)
    squared = sum(errors["squared_error"] for errors in found) / len(found)
    absolute = sum(errors["absolute_error"] for errors in found) / len(found)
    assert squared == pytest.approx(sklearn.mean_squared_error(truth, guess))
    assert absolute == pytest.approx(sklearn.mean_absolute_error(truth, guess))


def test_scores_of_both_classes_by_odds_keep_their_order(pairs: list[Pair]) -> None:
    bins = [
        (next(iter(scores.histogram([pair], positive=pair.positive))), pair.score)
        for pair in sorted(pairs, key=lambda pair: pair.score)
    ]
    assert bins == sorted(bins)
    assert {bin_ for bin_, score in bins if score == 0.5} == {0}
    assert (bins[0][0], bins[-1][0]) == (-2032, 2048)


def test_tenths_hold_what_numpys_histogram_holds(pairs: list[Pair]) -> None:
    edges = np.arange(11) / 10
    counted, _ = np.histogram([pair.score for pair in pairs if pair.score != scores.single(0.3)], edges)
    tenths = scores.reliability([pair for pair in pairs if pair.score != scores.single(0.3)])
    assert [tenths[tenth][0] for tenth in range(10)] == counted.tolist()
    assert sum(values[1] for values in tenths.values()) == pytest.approx(
        sum(pair.score for pair in pairs if pair.score != scores.single(0.3))
    )


def test_numbers_fall_into_the_bins_of_numpys_histogram() -> None:
    rng = random.Random(5)
    values = [rng.gauss(0, 10) for _ in range(1_000)]
    reference = Distribution(counts=[0] * 5, edges=[-10.0, 0.0, 0.5, 12.0])
    found = [references.place(value, reference) for value in values]
    assert reference.edges is not None
    counted, _ = np.histogram(values, [-np.inf, *reference.edges, np.inf])
    assert [found.count(bin_) for bin_ in range(5)] == counted.tolist()


@pytest.mark.parametrize(
    ("value", "bin_", "fault"),
    [
        (None, None, references.MISSING),
        ("30", None, references.TYPE_ERRORS),
        (True, 1, None),
        (0, 1, None),
        (-3, 0, None),
        (-4, 0, references.OUT_OF_RANGE),
        (9.5, 1, references.OUT_OF_RANGE),
    ],
)
def test_a_numbers_place_and_what_is_wrong_with_it(
    value: float | str | None, bin_: int | None, fault: int | None
) -> None:
    reference = Distribution(counts=[1, 1], edges=[0.0], lowest=-3.0, highest=9.0)
    assert (references.place(value, reference), references.fault(value, reference)) == (bin_, fault)


@pytest.mark.parametrize(
    ("value", "bin_", "fault"),
    [
        (None, None, references.MISSING),
        (7, None, references.TYPE_ERRORS),
        ("de", 0, None),
        (True, 1, None),
        (False, 2, references.UNSEEN),
        ("DE", 2, references.UNSEEN),
    ],
)
def test_a_words_place_and_what_is_wrong_with_it(
    value: float | str | None, bin_: int | None, fault: int | None
) -> None:
    reference = Distribution(counts=[1, 1, 1], categories=["de", "true"])
    assert (references.place(value, reference), references.fault(value, reference)) == (bin_, fault)
