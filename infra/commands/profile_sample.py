"""What a reference profile is made from: features and scores of a version's predictions, gathered record by
record, from the log or from files. Not the bins: those are `streams.metrics.reference`'s.
"""

from collections.abc import Mapping
from typing import NamedTuple
from zlib import crc32

from schemas.records import Feature, Prediction, Request

LIMIT = 200_000
"""So many predictions, and so many requests, are kept at most: quantiles of more are not better."""

Features = Mapping[str, Feature]


class Answer(NamedTuple):
    """What is kept of a prediction; `features` is None where it does not say, `scores` where it has none."""

    features: Features | None
    scores: list[float] | None


class Sample:
    """The predictions of one version, and the requests that may describe them, in whatever order they come.

    Beyond `limit` a half is dropped, by a hash of the request's id, and so is a half of what comes then:
    every prediction is as likely to be kept as any other, a request is kept with its prediction, and the
    same records make the same sample.
    """

    def __init__(self, model: str, version: str, limit: int = LIMIT) -> None:
        self._model = model
        self._version = version
        self._limit = limit
        self._below = 1 << 32
        self._answers: dict[str, Answer] = {}
        self._described: dict[str, Features] = {}
        self.seen = 0
        """How many predictions of the version there were, repeated ones too."""
        self.versions: set[str] = set()
        """Other versions of the model that were met."""

    @property
    def name(self) -> str:
        """Whose predictions: `MODEL/VERSION`."""
        return f"{self._model}/{self._version}"

    @property
    def kept(self) -> int:
        """How many predictions are in the sample."""
        return len(self._answers)

    def request(self, record: Request) -> None:
        """Takes a request, of whatever model."""
        if record.model == self._model and record.features is not None and self._keeps(record.request_id):
            self._described.setdefault(record.request_id, record.features)
            self._thin(self._described)

    def prediction(self, record: Prediction) -> None:
        """Takes a prediction, of whatever model; the first of a request counts."""
        if record.model != self._model:
            return
        if record.version != self._version:
            self.versions.add(record.version)
            return
        self.seen += 1
        if self._keeps(record.request_id):
            scores = record.scores if record.status == "ok" else None
            self._answers.setdefault(record.request_id, Answer(record.features, scores))
            self._thin(self._answers)

    def features(self) -> dict[str, list[Feature]]:
        """The values of each feature, one for every prediction, None where it has none."""
        rows = [
            self._described.get(request_id, {}) if answer.features is None else answer.features
            for request_id, answer in sorted(self._answers.items())
        ]
        names = sorted({name for row in rows for name in row})
        return {name: [row.get(name) for row in rows] for name in names}

    def scores(self) -> list[float]:
        """The scores of all items of ok predictions."""
        return [score for _, answer in sorted(self._answers.items()) for score in answer.scores or ()]

    def _keeps(self, request_id: str) -> bool:
        return crc32(request_id.encode()) < self._below

    def _thin(self, held: Mapping[str, object]) -> None:
        if len(held) <= self._limit:
            return
        self._below //= 2
        self._answers = {name: one for name, one in self._answers.items() if self._keeps(name)}
        self._described = {name: one for name, one in self._described.items() if self._keeps(name)}
