"""Visits: what a user rated in one go, what they had rated before, and other films beside it to choose from.

The last fifth of the ratings by time is replayed as requests, in two acts; the visits before an act train the
ranker that it judges. The data has few users (301 in that fifth), so each replayed visit counts as a user of
its own. Training is `ranker.py`'s work, clicks are the producer's.
"""

from collections.abc import Iterator
from itertools import count
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from infra.demo.movielens import Ints, MovieLens, Ratings

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

GAP = 1800
"""Seconds of silence that end a visit."""

LENGTH = 5
"""Ratings that end a visit: users of this data rate up to hundreds at a sitting, which makes many visits."""

HISTORY = 20
"""How many films back the ranker sees."""

CANDIDATES = 40
"""How many films a request asks to be ranked; up to `LENGTH` of them are relevant."""

CHUNK = 256
"""Visits whose candidates are sampled together: a matrix of chunk × items at a time."""


class Act(NamedTuple):
    """A part of the replay: the ratings from the share `start` to the share `stop` of all, by time."""

    name: str
    start: float
    stop: float


FIRST = Act("first", 0.8, 0.9)
"""What is replayed while the first version serves alone; the later ones learn from it."""

SECOND = Act("second", 0.9, 1.0)
"""What is replayed during the releases: no version has seen it."""


class Visits(NamedTuple):
    """Visits as columns of one length. Item 0 is no film: it fills `history` and `relevant` up.

    `second` is when the visit began; `seen` how many films the user had rated before it, `history` [n, 20]
    the last of them, the latest first; `relevant` [n, 5] what they rated in it.
    """

    user: Ints
    second: Ints
    seen: Ints
    history: Ints
    relevant: Ints

    def take(self, rows: Ints) -> "Visits":
        """Some of them, in the order of `rows`."""
        return Visits(*(column[rows] for column in self))


class Visit(NamedTuple):
    """One request to be: everything that a record of `inference.requests` needs but for its id and time.

    `relevant` are the items that the user went on to rate, all of them among `items`.
    """

    user: str
    items: list[int]
    inputs: dict[str, list[list[int]]]
    features: dict[str, float | str]
    relevant: frozenset[int]


class Sampler:
    """Sets films beside the relevant ones: unseen by the user, then and ever, the popular ones more often.

    A film's weight is the square root of its ratings: drawn alike, the candidates would mostly be films that
    nobody knows, and popularity alone would rank well; drawn by popularity, it would be worth nothing.
    """

    def __init__(self, data: MovieLens, popularity: Ints) -> None:
        rated = np.zeros((max(data.users) + 1, max(data.items) + 1), bool)
        rated[data.ratings.user, data.ratings.item] = True
        rated[:, 0] = True
        self._rated: Bools = rated
        self._weights = np.sqrt(popularity + 1.0).astype(np.float32)

    def draw(self, visits: Visits, random: np.random.Generator) -> Ints:
        """Candidates of each visit, [n, 40], in random order: its relevant items and others, none twice."""
        rows = np.arange(len(visits.user))
        chunks = (visits.take(rows[start : start + CHUNK]) for start in range(0, len(rows), CHUNK))
        return np.concatenate([self._draw(chunk, random) for chunk in chunks])

    def _draw(self, visits: Visits, random: np.random.Generator) -> Ints:
        """Weighted sampling without replacement by exponential keys.

        Efraimidis and Spirakis, "Weighted random sampling with a reservoir", Information Processing Letters
        97(5), 2006.
        """
        keys = random.standard_exponential((len(visits.user), len(self._weights)), np.float32) / self._weights
        keys[self._rated[visits.user]] = np.inf
        np.put_along_axis(keys, visits.relevant, -1.0, axis=1)
        keys[:, 0] = np.inf
        return random.permuted(np.argpartition(keys, CANDIDATES, axis=1)[:, :CANDIDATES], axis=1)


def popularity(data: MovieLens, ratings: Ratings) -> Ints:
    """How many of `ratings` each item has, by item number."""
    return np.bincount(ratings.item, minlength=max(data.items) + 1)


def before(data: MovieLens, act: Act) -> Ratings:
    """The ratings before `act`: what a version that is judged in it may have seen."""
    return data.ratings.rows(0, _place(data, act.start))


def cut(ratings: Ratings, start: int) -> Visits:
    """The visits in `ratings` from the `start`-th rating on; the earlier ones count as history only."""
    order = np.lexsort((np.arange(len(ratings.user)), ratings.user))
    user, item, second = ratings.user[order], ratings.item[order], ratings.second[order]
    first_of_user = np.searchsorted(user, user)
    begins = _begins(user, second, order >= start)
    lengths = np.diff(np.append(begins, len(user)))
    # Where a visit's ratings stand, and where those before it do; what is not the visit's or the user's is 0.
    after = begins[:, None] + np.arange(LENGTH)
    before = begins[:, None] - 1 - np.arange(HISTORY)
    relevant = np.where(np.arange(LENGTH) < lengths[:, None], item[np.minimum(after, len(user) - 1)], 0)
    history = np.where(before >= first_of_user[begins, None], item[np.maximum(before, 0)], 0)
    visits = Visits(user[begins], second[begins], begins - first_of_user[begins], history, relevant)
    return visits.take(np.flatnonzero(order[begins] >= start))


def _begins(user: Ints, second: Ints, replayed: Bools) -> Ints:
    """Where visits begin in ratings sorted by user and time.

    That is at another user, after a gap, where the replay begins, and after every `LENGTH` ratings.
    """
    borders = (np.diff(user) != 0) | (np.diff(second) > GAP) | np.diff(replayed)
    sittings = np.flatnonzero(np.append(True, borders))
    rank = np.arange(len(user)) - np.repeat(sittings, np.diff(np.append(sittings, len(user))))
    return np.flatnonzero(rank % LENGTH == 0)


def features(data: MovieLens, visits: Visits, candidates: Ints) -> dict[str, list[float] | list[str]]:
    """What requests carry for drift and data quality to watch, by name: one value a visit.

    `hour` is the hour of day, UTC, of the visit in the data; `history_length` the films rated before;
    `candidate_popularity` the ratings before the replay, and `candidate_year` the year, of the mean
    candidate.
    """
    popular = popularity(data, before(data, FIRST))
    years = np.full(max(data.items) + 1, np.nan)
    for number, item in data.items.items():
        years[number] = np.nan if item.year is None else item.year
    users = [data.users[user] for user in visits.user.tolist()]
    return {
        "age": [float(user.age) for user in users],
        "gender": [user.gender for user in users],
        "occupation": [user.occupation for user in users],
        "hour": (visits.second // 3600 % 24).astype(float).tolist(),
        "history_length": visits.seen.astype(float).tolist(),
        "candidate_popularity": popular[candidates].mean(axis=1).tolist(),
        "candidate_year": np.round(np.nanmean(years[candidates], axis=1), 2).tolist(),
    }


def replayed(data: MovieLens, act: Act) -> Visits:
    """The visits of an act, in order of time."""
    known = data.ratings.rows(0, _place(data, act.stop))
    visits = cut(known, len(before(data, act).item))
    return visits.take(np.argsort(visits.second, kind="stable"))


def replay(data: MovieLens, act: Act, seed: int) -> Iterator[Visit]:
    """The visits of an act, shuffled, again and again, with other candidates each time: without end.

    In order of time, a pass of some seconds would show the few users of a day together, and every rate would
    swing with them. No user comes twice, in whichever act or pass. The same seed gives the same visits.
    Thousands a second.
    """
    random = np.random.default_rng(seed)
    visits = replayed(data, act)
    sampler = Sampler(data, popularity(data, before(data, act)))
    users = (f"{act.name}-{number}" for number in count())
    while True:
        order = random.permutation(len(visits.user))
        for start in range(0, len(order), CHUNK):
            chunk = visits.take(order[start : start + CHUNK])
            yield from _requests(data, chunk, sampler.draw(chunk, random), users)


def _place(data: MovieLens, share: float) -> int:
    """Where among the ratings, by time, a share of them ends."""
    return round(len(data.ratings.item) * share)


def _requests(data: MovieLens, visits: Visits, candidates: Ints, users: Iterator[str]) -> Iterator[Visit]:
    columns = features(data, visits, candidates)
    rows = zip(candidates.tolist(), visits.history.tolist(), visits.relevant.tolist(), strict=True)
    for row, (items, history, relevant) in enumerate(rows):
        yield Visit(
            user=next(users),
            items=items,
            inputs={"history": [history], "item": [[item] for item in items]},
            features={name: values[row] for name, values in columns.items()},
            relevant=frozenset(relevant) - {0},
        )
