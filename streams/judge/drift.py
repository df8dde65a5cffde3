"""What the judge knows of one model's drift: its versions' profiles, the change detectors, and what these
have noticed lately. For rules, and for the records of `metrics.drift`.

Pure, as the rest of the core. Formulas are `streams.metrics.drift`'s, detectors `detectors.py`'s.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from schemas.policies import Rule
from schemas.records import Detection
from streams.judge.detectors import Detectors
from streams.judge.detectors import Series as Watched
from streams.judge.panes import Cell, Series, Window
from streams.metrics import drift, tallies
from streams.metrics.drift import FEATURE, METHODS, METRICS, RATES
from streams.metrics.profiles import Profiles

Pairs = Iterable[tuple[Series, Cell]]


def of_feature(rule: Rule) -> bool:
    """Whether the rule asks for something that each feature has for itself."""
    return rule.metric in METRICS or (rule.metric in RATES and FEATURE in rule.where)


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

    def value(self, rule: Rule, start: int, end: int, cells: Pairs) -> float | None:
        """What a rule that is `of_feature` asks for, over the panes from `start` to `end` (ms): of the
        feature that it names, or the largest of all features (and versions, each against its own profile).
        None where nothing is known.
        """
        feature = rule.where.get(FEATURE)
        if rule.metric in RATES:
            quality = tallies.add_lists(tally.quality for _, cell in cells for tally in cell.tallies)
            return drift.rate(rule.metric, quality[feature]) if feature in quality else None
        method = METRICS[rule.metric].method
        if method in METHODS:
            return max(self._distances(method, feature, cells), default=None)
        return self._changes(rule, method, start, end)

    def needed(self) -> int | None:
        """The start (ms) of the oldest pane whose `Detection` a successor must recall."""
        return self._detectors.needed()

    def forget(self, before: int) -> None:
        """Drops what ends by `before` (ms), as far as the detectors' future does not rest on it."""
        self._recent = [detection for detection in self._recent if detection.end > before]
        self._detectors.forget(before)

    def _distances(self, method: str, feature: str | None, cells: Pairs) -> Iterator[float]:
        counts: dict[str, list[Mapping[str, Sequence[int]]]] = defaultdict(list)
        for series, cell in cells:
            counts[series.version] += [tally.features for tally in cell.tallies]
        for version, found in counts.items():
            profile = self._profiles.of(self._model, version)
            for name, live in tallies.add_lists(found).items():
                reference = profile.get(name)
                if feature not in (None, name) or reference is None or not drift.fits(live, reference):
                    continue
                distance = METHODS[method](live, reference)
                if distance is not None:
                    yield distance

    def _changes(self, rule: Rule, method: str, start: int, end: int) -> float | None:
        feature = rule.where.get(FEATURE)
        seen = [
            detection
            for detection in self._recent
            if start <= detection.start and detection.end <= end and _matches(rule, detection)
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


def _matches(rule: Rule, detection: Detection) -> bool:
    arm, version = rule.where.get("arm"), rule.where.get("version")
    if version is not None and detection.version != version:
        return False
    return detection.arm == arm if arm is not None else detection.arm != "shadow"
