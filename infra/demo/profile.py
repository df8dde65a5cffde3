"""Reference profiles of the demo's models: how features and scores were distributed in training.

What `streams` compares live traffic with, to tell drift. Numbers are binned by their tenths, words by
themselves.
"""

from collections.abc import Sequence

import numpy as np

from infra.demo.movielens import MovieLens, Ratings
from infra.demo.ranker import Held, Singles
from infra.demo.visits import Sampler, cut, features, popularity
from schemas.records import Distribution, Profile

BINS = 10


def profile(
    data: MovieLens, ratings: Ratings, held: Held, *, model: str, version: str, created: int
) -> Profile:
    """The profile of a version that was trained on `ratings` at `created` (epoch ms).

    Features are those of all visits in the training data. Scores are those of visits that were held out, as
    all live ones are: on its own training data a model is more confident.
    """
    visits = cut(ratings, 0)
    random = np.random.default_rng(len(ratings.item))
    candidates = Sampler(data, popularity(data, ratings)).draw(visits, random)
    columns = features(data, visits, candidates)
    return Profile(
        model=model,
        version=version,
        ts=created,
        features={name: _distribution(values) for name, values in columns.items()},
        score=numbers(held.scores.ravel()),
    )


def numbers(values: Sequence[float] | Singles) -> Distribution:
    """Counts between the tenths of `values`; fewer bins where tenths coincide."""
    edges = np.unique(np.quantile(values, np.arange(1, BINS) / BINS))
    bins = np.searchsorted(edges, values, side="right")
    return Distribution(counts=np.bincount(bins, minlength=len(edges) + 1).tolist(), edges=edges.tolist())


def words(values: Sequence[str]) -> Distribution:
    """Counts of each word that occurs, in alphabetical order, and none of any other."""
    categories, counts = np.unique(values, return_counts=True)
    return Distribution(counts=[*counts.tolist(), 0], categories=categories.tolist())


def _distribution(values: Sequence[float] | Sequence[str]) -> Distribution:
    if isinstance(values[0], str):
        return words([str(value) for value in values])
    return numbers([float(value) for value in values])
