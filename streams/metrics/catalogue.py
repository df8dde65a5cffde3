"""The metrics: each an entry that says what of a pane makes it, which way it is good, and what it waits for.

Everything else follows from here: their evaluation (`evaluate.py`), the judge's tests, ClickHouse's views,
the names that a policy may use. There are three kinds: a ratio of sums, an order statistic of the latency
histogram, a statistic of scores by bin. The sums themselves are tallied by `streams/join/` into
`schemas.records.Pane.sums` under the names used here. A metric with a cut-off is written `recall@k` here and
`recall@5` outside; so are its sums (`hits@k`, `hits@5`).
"""

import re
from enum import Enum
from typing import NamedTuple

from schemas.records import QUALITY

SECONDS = "seconds"
"""A sum that no pane holds: the window's length in seconds."""

OF_FEATURES = {name: f"features.{name}" for name in QUALITY}
"""Sums that no pane holds by these names: its `quality` counts, over all features."""

COUNTS = (
    "late",
    "duplicates",
    "expired",
    "unmatched",
    "unanswered",
    "skewed",
    "mispartitioned",
    "dead_letters",
    "incomplete",
)
"""Records that did not count, by reason: nothing disappears uncounted."""


class Good(Enum):
    """Which way a metric is good."""

    HIGH = 1
    LOW = -1
    NEITHER = 0


class Adds(Enum):
    """What each unit of the denominator adds to the numerator: how sure a ratio is follows from that."""

    EVENTS = "one or nothing"
    FRACTIONS = "from 0 to 1"
    AMOUNTS = "any number"


class Ratio(NamedTuple):
    """Sums over sums; of those named together the sum, and one that is named twice counts twice. Without a
    `denominator` it is a plain count.

    `feedback`: it changes as feedback comes in, so tests wait for maturity. `final`: its sums are in final
    panes only.
    """

    name: str
    numerator: tuple[str, ...]
    denominator: tuple[str, ...]
    good: Good
    doc: str
    adds: Adds = Adds.AMOUNTS
    feedback: bool = False
    final: bool = False

    @property
    def sums(self) -> tuple[str, ...]:
        """All sums that it is made of, each once, the numerator's first."""
        return tuple(dict.fromkeys(self.numerator + self.denominator))

    @property
    def testable(self) -> bool:
        """Whether versions can be compared by it: it is good or bad, and its sums are kept by user."""
        kept = not {SECONDS, *OF_FEATURES.values()} & {*self.sums}
        return bool(self.denominator) and kept and self.good is not Good.NEITHER


class Quantile(NamedTuple):
    """The order statistic of rank ⌈qn⌉ of the latency histogram."""

    name: str
    q: float
    doc: str
    good: Good = Good.LOW
    feedback: bool = False
    final: bool = False


class Binned(NamedTuple):
    """A statistic of pairs of score and truth by bins of the score: `scored.py` computes it."""

    name: str
    good: Good
    doc: str
    feedback: bool = True
    final: bool = True


Metric = Ratio | Quantile | Binned


def _count(name: str, good: Good, doc: str, *, feedback: bool = False) -> Ratio:
    return Ratio(name, (name,), (), good, doc, feedback=feedback)


def _ranking(name: str, numerator: str, denominator: str, adds: Adds, doc: str) -> Ratio:
    return Ratio(name, (numerator,), (denominator,), Good.HIGH, doc, adds, feedback=True)


def _scored(
    name: str, numerator: str, denominator: str, good: Good, doc: str, adds: Adds = Adds.AMOUNTS
) -> Ratio:
    return Ratio(name, (numerator,), (denominator,), good, doc, adds, feedback=True, final=True)


def _labelled(name: str, numerator: str, doc: str, adds: Adds = Adds.AMOUNTS) -> Ratio:
    return Ratio(name, (numerator,), ("labelled",), Good.LOW, doc, adds, feedback=True)


def _quality(name: str, numerator: str, doc: str) -> Ratio:
    sums = (OF_FEATURES[numerator],), (OF_FEATURES["values"],)
    return Ratio(name, *sums, Good.LOW, doc, Adds.EVENTS)


TRAFFIC = (
    _count("predictions", Good.NEITHER, "Counted predictions."),
    _count("errors", Good.LOW, "Predictions with a status other than ok."),
    Ratio(
        "error_rate",
        ("errors",),
        ("predictions",),
        Good.LOW,
        "Share of predictions with a status other than ok.",
        Adds.EVENTS,
    ),
    Ratio(
        "throughput_rps",
        ("predictions",),
        (SECONDS,),
        Good.NEITHER,
        "Predictions per second of the window.",
    ),
    Ratio(
        "slow_rate",
        ("slow",),
        ("predictions",),
        Good.LOW,
        "Share of predictions slower than the policy's slow_ms.",
        Adds.EVENTS,
    ),
    Ratio(
        "latency_mean_ms",
        ("latency_ms",),
        ("timed",),
        Good.LOW,
        "Mean latency of ok and timeout predictions.",
    ),
    Ratio(
        "freshness_ms",
        ("freshness_ms",),
        ("predictions",),
        Good.LOW,
        "Mean age of predictions when they reached Kafka: Kafka timestamp − ts.",
    ),
)
"""What predictions say by themselves."""

ENGAGEMENT = (
    _count("impressions", Good.NEITHER, "Shown items of ok predictions."),
    _count("clicks", Good.HIGH, "Distinct (request, item) clicked among the shown items.", feedback=True),
    Ratio(
        "ctr",
        ("clicks",),
        ("impressions",),
        Good.HIGH,
        "Click-through rate: clicks per impression.",
        Adds.EVENTS,
        feedback=True,
    ),
    _count(
        "conversions",
        Good.HIGH,
        "Distinct (request, item) purchased among the shown items.",
        feedback=True,
    ),
    Ratio(
        "cvr",
        ("conversions",),
        ("clicks",),
        Good.HIGH,
        "Conversion rate: conversions per click. A purchase need not follow a click, so it is no share.",
        feedback=True,
    ),
)
"""What users did with what they were shown."""

RANKING = (
    _ranking(
        "recall@k",
        "hits@k",
        "relevant",
        Adds.EVENTS,
        "Σ relevant items in the first k / Σ relevant items (micro-average).",
    ),
    _ranking(
        "precision@k",
        "hits@k",
        "places@k",
        Adds.EVENTS,
        "Σ relevant items in the first k / (k × predictions).",
    ),
    _ranking(
        "hit_rate@k",
        "hit_predictions@k",
        "relevant_predictions",
        Adds.EVENTS,
        "Share of predictions with a relevant item in the first k.",
    ),
    _ranking(
        "mrr",
        "reciprocal_rank",
        "relevant_predictions",
        Adds.FRACTIONS,
        "Mean of 1 / rank of the first relevant item, 0 where none is in the list (E. Voorhees, The TREC-8 "
        "Question Answering Track, 1999).",
    ),
    _ranking(
        "ndcg@k",
        "ndcg@k",
        "relevant_predictions",
        Adds.FRACTIONS,
        "Mean of DCG / ideal DCG with DCG = Σ 1/log₂(1 + rank) over the relevant of the first k, the ideal "
        "list having min(k, relevant) of them first (Järvelin and Kekäläinen, ACM TOIS 20, 2002).",
    ),
    _ranking(
        "map@k",
        "average_precision@k",
        "relevant_predictions",
        Adds.FRACTIONS,
        "Mean of Σ precision at the rank of each relevant item of the first k / min(k, relevant) (Manning "
        "and others, Introduction to Information Retrieval, 2008, section 8.4).",
    ),
)
"""How relevant items were ranked, over ok predictions with at least one; in means each of them counts the
same."""

CLASSIFICATION: tuple[Ratio | Binned, ...] = (
    _scored(
        "accuracy",
        "correct",
        "pairs",
        Good.HIGH,
        "Share of pairs on the right side of the policy's threshold.",
        Adds.EVENTS,
    ),
    _scored(
        "precision",
        "true_positives",
        "predicted_positives",
        Good.HIGH,
        "Share of positives among the pairs at or above the threshold.",
        Adds.EVENTS,
    ),
    _scored(
        "recall",
        "true_positives",
        "positives",
        Good.HIGH,
        "Share of positives that are at or above the threshold.",
        Adds.EVENTS,
    ),
    Ratio(
        "f1",
        ("true_positives", "true_positives"),
        ("positives", "predicted_positives"),
        Good.HIGH,
        "Harmonic mean of precision and recall: 2 TP / (positives + predicted positives) (van Rijsbergen, "
        "Information Retrieval, 1979).",
        feedback=True,
        final=True,
    ),
    Binned(
        "roc_auc",
        Good.HIGH,
        "Area under the ROC curve: the share of (positive, negative) in which the positive has the higher "
        "score, ties as half (Hanley and McNeil, Radiology 143, 1982).",
    ),
    _scored(
        "log_loss",
        "log_loss",
        "pairs",
        Good.LOW,
        "Mean of −ln of the truth's probability, scores clipped to [1e-15, 1 − 1e-15].",
    ),
    _scored(
        "brier",
        "squared_score_error",
        "pairs",
        Good.LOW,
        "Mean squared difference of score and truth (G. Brier, Monthly Weather Review 78, 1950).",
        Adds.FRACTIONS,
    ),
    Binned(
        "ece",
        Good.LOW,
        "Expected calibration error: |mean score − share of positives| in ten bins of the score, weighted by "
        "pairs (Guo and others, On Calibration of Modern Neural Networks, ICML 2017).",
    ),
    _scored(
        "calibration",
        "expected_positives",
        "positives",
        Good.NEITHER,
        "Positives that the scores promise (their sum) per positive that came: 1 is right, more too sure.",
    ),
)
"""Scores in [0, 1] of shown (request, item) pairs against their truth; in final panes only."""

REGRESSION = (
    _labelled("mse", "squared_error", "Mean squared error of the score against the label."),
    _labelled("mae", "absolute_error", "Mean absolute error of the score against the label."),
    _labelled(
        "anomaly_rate",
        "anomalies",
        "Share of labels farther from the score than the policy's anomaly.",
        Adds.EVENTS,
    ),
)
"""Scores against the values of labels."""

DATA_QUALITY = (
    _quality("missing_rate", "missing", "Share of feature values that are absent or null."),
    _quality("out_of_range_rate", "out_of_range", "Share of values beyond the reference profile's extremes."),
    _quality(
        "type_error_rate", "type_errors", "Share of values of another type than the reference profile's."
    ),
    _quality("unseen_rate", "unseen", "Share of values that are no category of the reference profile's."),
)
"""Over the values of all features of the reference profile; feature by feature they are in the view
`drift`."""

LOST = tuple(_count(name, Good.LOW, f"Count of records: {name}.") for name in COUNTS)

QUANTILES = tuple(
    Quantile(
        f"latency_p{digits}_ms",
        float(f"0.{digits}"),
        f"Latency of rank ⌈{float(f'0.{digits}')}n⌉ of ok and timeout predictions.",
    )
    for digits in ("50", "90", "95", "99", "999")
)

METRICS: tuple[Metric, ...] = (
    *TRAFFIC,
    *QUANTILES,
    *ENGAGEMENT,
    *RANKING,
    *CLASSIFICATION,
    *REGRESSION,
    *DATA_QUALITY,
    *LOST,
)
"""All of them."""

RATIOS = tuple(metric for metric in METRICS if isinstance(metric, Ratio))
BINNED = tuple(metric for metric in METRICS if isinstance(metric, Binned))

CUT_OFF = "@k"
"""Ends the name of a metric that has a cut-off, and the names of those of its sums that have one."""

OF_ALL_CUT_OFFS = sorted(
    {
        name
        for metric in RATIOS
        if metric.name.endswith(CUT_OFF)
        for name in metric.denominator
        if not name.endswith(CUT_OFF)
    }
)
"""Sums that a snapshot has once for all its cut-offs. Panes of one window need not have the same cut-offs,
for policies change, so a tally has them for each (`relevant@5`): a metric divides by those of its own panes.
"""

HITS = "hits@"
"""Begins a sum that a pane with relevant items has for each of its cut-offs, even where it is 0."""

_METRICS = {metric.name: metric for metric in METRICS}
_WRITTEN_OUT = re.compile(r"(\w+)@([1-9][0-9]{0,8})", re.ASCII)
"""A cut-off has at most nine digits, as in policies."""


def find(name: str) -> Metric | None:
    """The metric of a written-out name (`ctr`, `recall@5`, `latency_p99_ms`), its sums written out too; None
    where there is none.
    """
    match = _WRITTEN_OUT.fullmatch(name)
    if match is None:
        return None if name.endswith(CUT_OFF) else _METRICS.get(name)
    metric = _METRICS.get(match[1] + CUT_OFF)
    return at(metric, int(match[2])) if isinstance(metric, Ratio) else None


def at(metric: Ratio, k: int) -> Ratio:
    """A metric with a cut-off, written out, as are all its sums."""
    return metric._replace(
        name=_at(metric.name, k),
        numerator=tuple(_at(name, k) for name in metric.numerator),
        denominator=tuple(_at(name, k) for name in metric.denominator),
    )


def _at(name: str, k: int) -> str:
    if name.endswith(CUT_OFF) or name in OF_ALL_CUT_OFFS:
        return f"{name.removesuffix(CUT_OFF)}@{k}"
    return name
