"""What one counted prediction and its feedback add to the tallies of their pane: the catalogue of the
contract's section 3, a prediction at a time. Where the contract leaves a choice, it is made here and said
at the rule.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from schemas.policies import Policy
from schemas.records import Distribution, Feature, Feedback, Prediction, Request
from tests.oracle import ranking, references, scores
from tests.oracle.log import Event
from tests.oracle.scores import Pair


@dataclass
class Tally:
    """What adds up in one series. `sums` are whole numbers by the catalogue's names, `fractions` the
    others (both without zeros); the rest are the values themselves, in no order: latencies (ms) of `ok`
    and `timeout` predictions, delays (ms) of clicks, pairs of classification; and counts by feature."""

    sums: Counter[str] = field(default_factory=Counter)
    fractions: dict[str, float] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)
    delays: list[int] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    features: dict[str, Counter[int]] = field(default_factory=dict)
    quality: dict[str, Counter[int]] = field(default_factory=dict)

    def add(self, other: "Tally") -> None:
        """Takes in all that another has."""
        self.sums.update(other.sums)
        for name, value in other.fractions.items():
            self.fractions[name] = self.fractions.get(name, 0.0) + value
        self.latencies += other.latencies
        self.delays += other.delays
        self.pairs += other.pairs
        for mine, others in ((self.features, other.features), (self.quality, other.quality)):
            for name, counts in others.items():
                mine.setdefault(name, Counter()).update(counts)


@dataclass
class Counted:
    """A prediction that counts, the pane that it counts in, and what was learnt of it: the feedback that
    counts, in the order of its offsets, and in `sums` what did not."""

    event: Event[Prediction]
    policy: Policy
    start: int
    deadline: int
    seen: set[tuple[str, ...]] = field(default_factory=set)
    feedback: list[Event[Feedback]] = field(default_factory=list)
    sums: Counter[str] = field(default_factory=Counter)

    @property
    def shadow(self) -> bool:
        return self.event.record.arm == "shadow"

    @property
    def ranked(self) -> list[str]:
        """The items, best first; 7 is "7"."""
        return [str(item) for item in self.event.record.items or ()]

    @property
    def shown(self) -> list[str]:
        """The items that were displayed."""
        return self.ranked if self.event.record.shown is None else self.ranked[: self.event.record.shown]

    def items(self, kinds: Sequence[str]) -> set[str]:
        """The distinct items with counted feedback of these kinds."""
        return {
            str(event.record.item)
            for event in self.feedback
            if event.record.kind in kinds and event.record.item is not None
        }


def measure(prediction: Counted) -> Tally:
    """All but features: what stands in the prediction's series and in each of its segments."""
    record, policy = prediction.event.record, prediction.policy
    tally = Tally(sums=Counter(prediction.sums))
    tally.sums["predictions"] = 1
    tally.sums["errors"] = int(record.status != "ok")
    tally.sums["slow"] = int(record.latency_ms > policy.slow_ms)
    tally.sums["freshness_ms"] = prediction.event.timestamp - prediction.event.ts
    if record.status in ("ok", "timeout"):
        tally.latencies.append(min(record.latency_ms, scores.LARGEST))
    if record.status == "ok":
        relevant = prediction.items(policy.relevant)
        tally.sums.update(ranking.counts(prediction.ranked, relevant, policy.k))
        tally.fractions |= ranking.gains(prediction.ranked, relevant, policy.k)
        if not prediction.shadow:
            _measure_interactions(prediction, tally)
            _measure_scores(prediction, tally)
    return tally


def measure_features(
    prediction: Counted, features: Mapping[str, Feature] | None, reference: Mapping[str, Distribution]
) -> Tally:
    """What the prediction's features and scores add, under its version's reference: in its series, in no
    segment. Features are of every prediction that counts, shadows and errors too; scores of those that
    are ok, of all items, shown or not."""
    record = prediction.event.record
    given = (record.scores or ()) if record.status == "ok" else ()
    tally = Tally()
    for name, bin_ in references.placed(features, given, reference):
        tally.features.setdefault(name, Counter())[bin_] += 1
    for name, place in references.faults(features, reference):
        tally.quality.setdefault(name, Counter())[place] += 1
    return tally


def _measure_interactions(prediction: Counted, tally: Tally) -> None:
    """Impressions, clicks and conversions. Choices: where impressions come from feedback, they are the
    distinct shown items with one; an item's click is as late as the first that counts, and not before its
    prediction."""
    shown = set(prediction.shown)
    if prediction.policy.impressions == "shown":
        tally.sums["impressions"] = len(prediction.shown)
    else:
        tally.sums["impressions"] = len(prediction.items(("impression",)) & shown)
    tally.sums["clicks"] = len(prediction.items(("click",)) & shown)
    tally.sums["conversions"] = len(prediction.items(("purchase",)) & shown)
    clicked: set[str] = set()
    for event in prediction.feedback:
        item = str(event.record.item)
        if event.record.kind == "click" and item in shown and item not in clicked:
            clicked.add(item)
            tally.delays.append(max(0, event.ts - prediction.event.ts))


def _measure_scores(prediction: Counted, tally: Tally) -> None:
    """Classification and regression."""
    tally.pairs = list(_pairs(prediction))
    for pair in tally.pairs:
        tally.sums.update(scores.counts(pair))
        _add(tally.fractions, scores.losses(pair))
    given = prediction.event.record.scores or ()
    for position, label in _labels(prediction).items() if given else ():
        errors = scores.errors(scores.single(given[position]), label)
        tally.sums["labelled"] += 1
        tally.sums["anomalies"] += errors["absolute_error"] > prediction.policy.anomaly
        _add(tally.fractions, errors)


def _pairs(prediction: Counted) -> Iterator[Pair]:
    """Shown items with a score in [0, 1], each once, at its first position; under `truth: label` those
    with a label of 0 or 1. Choice: where a prediction has no items, its one score is shown unless `shown`
    is 0."""
    record = prediction.event.record
    labels, clicked = _labels(prediction), prediction.items(("click",))
    shown: list[str | None] = list(prediction.shown)
    if record.items is None and len(record.scores or ()) == 1 and record.shown != 0:
        shown = [None]
    given = record.scores or [-1.0] * len(shown)
    seen: set[str | None] = set()
    for position, item in enumerate(shown):
        score, first = given[position], item not in seen
        seen.add(item)
        if not first or not 0 <= score <= 1:
            continue
        predicted = score >= prediction.policy.threshold
        if prediction.policy.truth == "label":
            if labels.get(position) in (0, 1):
                yield Pair(scores.single(score), labels[position] == 1, predicted)
        elif item is not None:
            yield Pair(scores.single(score), item in clicked, predicted)


def _labels(prediction: Counted) -> dict[int, float]:
    """The label of each position that has one: the first, by offset, of feedback that counts and has a
    value. One without an item is of the prediction's one score."""
    record = prediction.event.record
    found: dict[int, float] = {}
    for event in prediction.feedback:
        kind, item, value = event.record.kind, event.record.item, event.record.value
        if kind != "label" or value is None:
            continue
        if item is not None and str(item) in prediction.ranked:
            found.setdefault(prediction.ranked.index(str(item)), value)
        elif item is None and len(record.scores or ()) == 1:
            found.setdefault(0, value)
    return found


def _add(sums: dict[str, float], more: Mapping[str, float]) -> None:
    for name, value in more.items():
        sums[name] = sums.get(name, 0.0) + value


def described(prediction: Counted, request: Request | None) -> Mapping[str, Feature] | None:
    """The prediction's features: its own, or else its request's."""
    features = prediction.event.record.features
    return features if features is not None or request is None else request.features


def segments(prediction: Counted, request: Request | None) -> Iterator[tuple[str, str]]:
    """The segments of the policy that the prediction has a value of: its own, or else its request's."""
    record = prediction.event.record
    surface = record.surface if record.surface is not None or request is None else request.surface
    named = record.segments if record.segments is not None or request is None else request.segments
    for name in prediction.policy.segments:
        value = surface if name == "surface" else (named or {}).get(name)
        if value is not None:
            yield name, value
