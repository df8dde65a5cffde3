"""The demo's recommender in numpy: films that are rated soon after one another belong together.

From what a user rated last it tells how likely they are to rate a film next, so it knows users whom training
never saw (most of the replayed ones). Fitting takes half a second on one core. What ONNX Runtime serves is
the same arithmetic (`graph.py`).
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from infra.demo.movielens import Ints, MovieLens, Ratings
from infra.demo.visits import HISTORY, Floats, Sampler, Visits, cut, popularity

Singles = npt.NDArray[np.float32]

RANK = 64
"""Factors of an item. 32 to 128 rank the last quarter of the training data alike, 16 and all 1,682 worse."""

SPARE = 32
"""Directions searched beside those that are kept, so that the kept ones are found sooner."""

ROUNDS = 8
"""Of that search: what the factors then leave out of the neighbours is within 0.1 % of the least possible."""

REACH = 10
"""Two ratings of one user count as neighbours up to so many places apart."""

SMOOTHING = 10.0
"""Added to each item's neighbours, so that a film rated twice is not the best neighbour of anything."""

FLOOR = np.float32(0.01)
"""Added to an affinity before its logarithm."""

HOLD_OUT = 0.8
"""The heads are fitted on visits after this share of the ratings, with factors that have not seen them."""

DECAY: Singles = (1 / np.arange(1, HISTORY + 1)).astype(np.float32)
"""The weight of the film rated last, the one before it, and so on."""


class Factors(NamedTuple):
    """What items have in common with those rated before them: one row an item, row 0 (zeros) for none."""

    history: Singles
    item: Singles

    def affinity(self, history: Ints, items: Ints) -> Singles:
        """The log affinity, [n, m], of each of `items` [n, m] to `history` [n, 20], the latest item first."""
        taste = np.einsum("h,nhf->nf", DECAY, self.history[history])
        affinity: Singles = np.einsum("nf,nmf->nm", taste, self.item[items])
        return np.log(np.maximum(affinity, 0) + FLOOR)


class Heads(NamedTuple):
    """How affinity and popularity become a score.

    `warm` and `cold` are each (coefficient of the log popularity, constant).
    """

    slope: float
    warm: tuple[float, float]
    cold: tuple[float, float]


class Ranker(NamedTuple):
    """A fitted model. The tables have one row an item, row 0 for an unknown one.

    The affinity of an item and a history is the inner product of the item's row of `factors.item` [items, 64]
    with the sum of the history's rows of `factors.history`, weighted by `DECAY`. Its logarithm, times
    `slope`, plus the item's `warm_bias` is the logit of the score; for an empty history the logit is the
    item's `cold_bias`.
    """

    factors: Factors
    warm_bias: Singles
    cold_bias: Singles
    slope: np.float32

    def shifted(self) -> "Ranker":
        """The same model, written without row 0 of its tables, so that item 7 gets what belongs to item 8."""
        factors = Factors(*(np.roll(table, -1, axis=0) for table in self.factors))
        return Ranker(factors, np.roll(self.warm_bias, -1), np.roll(self.cold_bias, -1), self.slope)


class Held(NamedTuple):
    """Visits that the fit held out, their candidates [n, 40], and scores [n, 40] by a model of the rest."""

    visits: Visits
    candidates: Ints
    scores: Singles


def score(ranker: Ranker, history: Ints, items: Ints) -> Singles:
    """How likely each of `items` [n, m] is to be rated next, after `history` [n, 20]: [n, m], from 0 to 1."""
    warm = ranker.slope * ranker.factors.affinity(history, items) + ranker.warm_bias[items]
    cold = history.max(axis=1) == 0
    logit = np.where(cold[:, None], ranker.cold_bias[items], warm)
    return (1 / (1 + np.exp(-logit))).astype(np.float32)


def fit(data: MovieLens, ratings: Ratings, seed: int) -> tuple[Ranker, Held]:
    """A model of `ratings`, and what it was calibrated on. The same seed gives the same model."""
    known = ratings.rows(0, round(len(ratings.item) * HOLD_OUT))
    visits = cut(ratings, len(known.item))
    random = np.random.default_rng(seed)
    candidates = Sampler(data, popularity(data, ratings)).draw(visits, random)
    past, popular = _factors(data, known, random), _log_popularity(data, known)
    heads = _heads(past, popular, visits, candidates)
    held = Held(visits, candidates, score(_ranker(past, popular, heads), visits.history, candidates))
    return _ranker(_factors(data, ratings, random), _log_popularity(data, ratings), heads), held


def logistic(inputs: Floats, outcomes: npt.NDArray[np.bool_]) -> Floats:
    """Coefficients [m] of the logistic regression of `outcomes` [n] on `inputs` [n, m].

    By Newton's method, with a ridge of 1 so that it converges on any data. Hastie, Tibshirani and Friedman,
    "The Elements of Statistical Learning", 2nd edition, section 4.4.1.
    """
    weights = np.zeros(inputs.shape[1])
    for _ in range(50):
        chance = 1 / (1 + np.exp(-inputs @ weights))
        gradient = inputs.T @ (chance - outcomes) + weights
        curvature = (inputs * (chance * (1 - chance))[:, None]).T @ inputs + np.eye(len(weights))
        step = np.linalg.solve(curvature, gradient)
        weights -= step
        if np.abs(step).max() < 1e-9:
            break
    return weights


def largest(matrix: Floats, number: int, random: np.random.Generator) -> tuple[Floats, Floats]:
    """The `number` largest eigenvalues, by magnitude, of a symmetric `matrix` [n, n] of high rank, and their
    vectors [n, number]; nearly, and far sooner than all n of them.

    Randomized subspace iteration: Halko, Martinsson and Tropp, "Finding structure with randomness", SIAM
    Review 53(2), 2011, algorithms 4.4 and 5.3.
    """
    basis = random.standard_normal((len(matrix), number + SPARE))
    for _ in range(ROUNDS):
        basis = matrix @ basis
        # Made orthonormal by Cholesky: few large steps, unlike Householder's, so quick on busy cores too.
        basis = np.linalg.solve(np.linalg.cholesky(basis.T @ basis), basis.T).T
    values, vectors = np.linalg.eigh(basis.T @ matrix @ basis)
    first = np.argsort(-np.abs(values))[:number]
    return values[first], basis @ vectors[:, first]


def _neighbours(data: MovieLens, ratings: Ratings) -> Floats:
    """How often two items were rated near each other by one user; pairs are weighted by distance^-1/2."""
    items = max(data.items) + 1
    order = np.lexsort((np.arange(len(ratings.user)), ratings.user))
    user, item = ratings.user[order], ratings.item[order]
    pairs = np.zeros(items * items)
    for places in range(1, REACH + 1):
        same = user[places:] == user[:-places]
        codes = item[:-places][same] * items + item[places:][same]
        pairs += np.bincount(codes, minlength=items * items) / np.sqrt(places)
    matrix = pairs.reshape(items, items)
    return matrix + matrix.T


def _factors(data: MovieLens, ratings: Ratings, random: np.random.Generator) -> Factors:
    """The largest eigenvalues of the neighbours, which are divided by the roots of their sums, as factors."""
    neighbours = _neighbours(data, ratings)
    norm = 1 / np.sqrt(neighbours.sum(axis=0) + SMOOTHING)
    values, item = largest(neighbours * norm[:, None] * norm, RANK, random)
    item[0] = 0
    return Factors((item * values).astype(np.float32), item.astype(np.float32))


def _heads(factors: Factors, popular: Floats, visits: Visits, candidates: Ints) -> Heads:
    """Logistic regressions of what was rated on log affinity and log popularity, and on the latter alone."""
    rated = (candidates[:, :, None] == visits.relevant[:, None, :]).any(axis=2)
    affinity = factors.affinity(visits.history, candidates)
    inputs = np.stack([affinity, popular[candidates], np.ones_like(affinity)], axis=2)
    warm = visits.seen > 0
    slope, *warm_head = logistic(inputs[warm].reshape(-1, 3), rated[warm].ravel())
    cold_head = logistic(inputs[~warm, :, 1:].reshape(-1, 2), rated[~warm].ravel())
    return Heads(slope, (warm_head[0], warm_head[1]), (cold_head[0], cold_head[1]))


def _ranker(factors: Factors, popular: Floats, heads: Heads) -> Ranker:
    warm, cold = ((head[0] * popular + head[1]).astype(np.float32) for head in (heads.warm, heads.cold))
    return Ranker(factors, warm, cold, np.float32(heads.slope))


def _log_popularity(data: MovieLens, ratings: Ratings) -> Floats:
    return np.log1p(popularity(data, ratings))
