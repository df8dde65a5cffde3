"""Reference profiles as compiled code sees them: into which bins of a version's reference a feature or a
score falls, and what is wrong with it. What the rules are, says `streams/metrics/drift.py`.
"""

from typing import Any

import numpy as np

from schemas.errors import HeadgateError
from schemas.records import QUALITY, SCORE, Codec, Distribution, Profile
from streams.compiled import inner
from streams.join import hashmap
from streams.join.cells import count, touch
from streams.join.grammar import END, NULL, NUMBER, STRING, TRUE, next_member
from streams.join.hashmap import NONE, find
from streams.join.layout import FEATURE, PROFILE, Bytes, State
from streams.join.numbers import number
from streams.join.tallies import FEATURES
from streams.join.text import hash_of, mix, text_hash

VALUES, MISSING, OUT_OF_RANGE, TYPE_ERRORS, UNSEEN = range(len(QUALITY))


class References:
    """All versions' profiles, in the order of `control.profiles`: the first of a version holds."""

    def __init__(self) -> None:
        self._codec: Codec[Profile] = Codec(Profile)
        self._profiles: dict[tuple[str, str], tuple[int, int, int]] = {}
        self._features: list[tuple[Any, ...]] = []
        self._edges: list[float] = []
        self._categories: dict[int, int] = {}
        self.names: list[str] = []
        """Of all features of all profiles."""
        self.bins: list[int] = []
        """How many each has."""

    def read(self, value: bytes | None) -> None:
        """Takes a record. Raises `HeadgateError` for one that is none."""
        try:
            profile = self._codec.decode(value)
        except ValueError as error:
            raise HeadgateError(f"control.profiles: {error}") from error
        self.add(profile)

    def add(self, profile: Profile) -> None:
        """Takes a profile, unless its version has one."""
        if (profile.model, profile.version) in self._profiles:
            return
        first, score = len(self.names), NONE
        for name, distribution in profile.distributions().items():
            if len(distribution.counts) != 1 + len(distribution.edges or distribution.categories or ()):
                continue
            if name == SCORE and distribution is profile.score:
                score = len(self.names)
            self._add(name, distribution)
        length = len(self.names) - first - (score != NONE)
        self._profiles[profile.model, profile.version] = (first, length, score)

    def _add(self, name: str, distribution: Distribution) -> None:
        edges = distribution.edges or []
        for bin_, word in enumerate(distribution.categories or ()):
            key = mix(np.uint64(len(self.names)), np.uint64(hash_of(word)))
            self._categories.setdefault(int(key), bin_)
        self._features.append(
            (
                hash_of(name),
                -np.inf if distribution.lowest is None else distribution.lowest,
                np.inf if distribution.highest is None else distribution.highest,
                *(len(self._edges), len(edges), len(distribution.counts), distribution.categories is None),
            )
        )
        self._edges += edges
        self.names.append(name)
        self.bins.append(len(distribution.counts))

    def refresh(self) -> dict[str, Any]:
        """The arrays."""
        by_version = hashmap.empty(2 * len(self._profiles))
        for row, (model, version) in enumerate(self._profiles):
            key = mix(np.uint64(hash_of(model)), np.uint64(hash_of(version)))
            hashmap.put(by_version, np.uint64(key), row)
        categories = hashmap.empty(2 * len(self._categories))
        for word, bin_ in self._categories.items():
            hashmap.put(categories, np.uint64(word), bin_)
        return {
            "features": np.array(self._features, FEATURE),
            "profiles": np.array(list(self._profiles.values()), PROFILE),
            "by_version": by_version,
            "edges": np.array(self._edges, np.float64),
            "categories": categories,
        }

    @property
    def most_features(self) -> int:
        """The most that a profile has, the score counted."""
        return max((length + 1 for _, length, _ in self._profiles.values()), default=0)


@inner
def tally(state: State, cell: int, row: int, data: Bytes, start: int) -> None:
    """Counts the features of one prediction, the JSON object at `start`."""
    touch(state, cell)
    profile = state.profiles[row]
    first, length = profile.first, profile.length
    there = state.marked
    there[:length] = 0
    guess, place = 0, start
    while True:
        name_start, name_end, kind, value_start, value_end, place = next_member(data, place)
        if kind == END:
            break
        if kind == NULL:
            continue
        name = text_hash(data, name_start, name_end)
        found = NONE
        for i in range(length):  # as a rule they come in the same order
            feature = (guess + i) % length
            if state.features[first + feature].name == name:
                found = feature
                break
        if found < 0:
            continue
        guess = found + 1
        there[found] = 1
        _tally(state, cell, first + found, data, kind, value_start, value_end)
    for feature in range(length):
        quality = FEATURES + 2 * (first + feature) + 1
        count(state, cell, quality, VALUES, 1)
        if not there[feature]:
            count(state, cell, quality, MISSING, 1)


@inner
def tally_nothing(state: State, cell: int, row: int, by: int) -> None:
    """Counts a prediction of which no features are known: all are missing."""
    touch(state, cell)
    profile = state.profiles[row]
    for feature in range(profile.first, profile.first + profile.length):
        count(state, cell, FEATURES + 2 * feature + 1, VALUES, by)
        count(state, cell, FEATURES + 2 * feature + 1, MISSING, by)


@inner
def _tally(state: State, cell: int, row: int, data: Bytes, kind: int, start: int, end: int) -> None:
    feature = state.features[row]
    tallied, quality = FEATURES + 2 * row, FEATURES + 2 * row + 1
    if feature.numeric:
        if kind == STRING:
            count(state, cell, quality, TYPE_ERRORS, 1)
            return
        value = number(data, start, end) if kind == NUMBER else 1.0 if kind == TRUE else 0.0
        if value < feature.lowest or value > feature.highest:
            count(state, cell, quality, OUT_OF_RANGE, 1)
        count(state, cell, tallied, bin_of(state, row, value), 1)
        return
    if kind == NUMBER:
        count(state, cell, quality, TYPE_ERRORS, 1)
        return
    word = text_hash(data, start, end)  # true and false stand for the words
    bin_ = find(state.categories, mix(np.uint64(row), word))
    if bin_ < 0:
        bin_ = feature.bins - 1
        count(state, cell, quality, UNSEEN, 1)
    count(state, cell, tallied, bin_, 1)


@inner
def bin_of(state: State, row: int, value: float) -> int:
    """The bin of a number: how many edges are at most that."""
    feature = state.features[row]
    low, high = feature.edges, feature.edges + feature.length
    while low < high:
        middle = (low + high) // 2
        if value < state.edges[middle]:
            high = middle
        else:
            low = middle + 1
    return int(low - feature.edges)


@inner
def tally_score(state: State, cell: int, row: int, score: float) -> None:
    """Counts a score, as far as the version's profile has scores."""
    feature = state.profiles[row].score
    if feature >= 0:
        count(state, cell, FEATURES + 2 * feature, bin_of(state, feature, score), 1)
