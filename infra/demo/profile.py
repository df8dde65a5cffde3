"""Reference profiles of the demo's models: how features and scores were distributed in training.

What `streams` compares live traffic with, to tell drift. The bins are `streams.metrics.reference`'s.
"""

import numpy as np

from infra.demo.movielens import MovieLens, Ratings
from infra.demo.ranker import Held
from infra.demo.visits import Sampler, cut, features, popularity
from schemas.records import Profile
from streams.metrics import reference


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
        features={
            name: distribution
            for name, values in columns.items()
            if (distribution := reference.column(values).distribution) is not None
        },
        score=reference.scores(held.scores.ravel()),
    )
