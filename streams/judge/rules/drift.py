"""What the judge knows of one model's drift: its versions' profiles, the change detectors, and what these
have noticed lately. For rules, and for the records of `metrics.drift`.

Pure, as the rest of the core. Formulas are `streams.metrics.drift`'s, detectors `detectors.py`'s.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from schemas.records import SCORE, Detection, Distribution
from streams.judge.facts.panes import Window
from streams.judge.rules.derived import Counts
from streams.judge.rules.detectors import Detectors
from streams.judge.rules.detectors import Series as Watched
from streams.judge.rules.scope import SHADOW, Scope
from streams.metrics import drift, tallies
from streams.metrics.drift import METHODS
from streams.metrics.profiles import Profiles


class Distance(NamedTuple):
    """How far a version's feature is from its profile."""

    value: float
    version: str
    feature: str


class Drift:
    """One model's."""

    def __init__(self, model: str, profiles: Profiles) -> None:
        self._model = model
        self._profiles = profiles
        self._detectors = Detectors(model)
        self._recent: list[Detection] = []
        self._news: list[Detection] = []

    def observe(self, window: Window) -> None:
        """Has the detectors look at a window that has become final; those come in the order of their time."""
        sums: dict[Watched, list[Mapping[str, float]]] = defaultdict(list)
        for series, cell in window.cells.items():
            if series.version and not series.segment:
                sums[Watched(series.version, series.arm, window.end - window.start)].append(cell.sums)
        for watched in sorted(sums):
            detection = self._detectors.observe(watched, window.start, tallies.add(sums[watched]))
            if detection is not None:
                self._news.append(detection)
                self._recent.append(detection)

    def recall(self, detection: Detection) -> None:
        """What a predecessor's detectors saw; in the order in which it was written, and before anything
        else.
        """
        self._detectors.recall(detection)
        self._recent.append(detection)

    def news(self) -> list[Detection]:
        """What has been seen since this was last asked."""
        news, self._news = self._news, []
        return news

    def distances(
        self, method: str, counts: Mapping[str, Counts], feature: str | None = None
    ) -> Iterator[Distance]:
        """How far features are from their versions' profiles, of the live `counts` by version: of one
        feature or of all.
        """
        for version, found in counts.items():
            profile = self._profiles.of(self._model, version)
            for name, live in found.items():
                reference = profile.get(name)
                if feature not in (None, name) or reference is None or not drift.fits(live, reference):
                    continue
                distance = METHODS[method](live, reference)
                if distance is not None:
                    yield Distance(distance, version, name)

    def scores(self, version: str) -> Distribution | None:
        """How a version's scores were distributed in training."""
        return self._profiles.of(self._model, version).get(SCORE)

    def changes(self, method: str, scope: Scope, feature: str | None, start: int, end: int) -> float | None:
        """How many changes a detector noticed in the final panes from `start` to `end` (ms) of the watched
        metric `feature`, or of all; None where it saw none of these panes.
        """
        seen = [
            detection
            for detection in self._recent
            if start <= detection.start and detection.end <= end and _matches(scope, detection)
        ]
        if not seen:
            return None
        return float(
            sum(
                method in methods
                for detection in seen
                for name, methods in detection.changed.items()
                if feature in (None, name)
            )
        )

    def needed(self) -> int | None:
        """The start (ms) of the oldest pane whose `Detection` a successor must recall."""
        return self._detectors.needed()

    def forget(self, before: int) -> None:
        """Drops what ends by `before` (ms), as far as the detectors' future does not rest on it."""
        self._recent = [detection for detection in self._recent if detection.end > before]
        self._detectors.forget(before)


def _matches(scope: Scope, detection: Detection) -> bool:
    if scope.version is not None and detection.version != scope.version:
        return False
    return detection.arm == scope.arm if scope.arm is not None else detection.arm != SHADOW
