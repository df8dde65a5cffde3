"""Which number of a cell is which sum of a pane: slots by name for Python, by number for compiled code."""

from collections.abc import Iterable, Sequence

from streams.metrics.catalogue import COUNTS, OF_ALL_CUT_OFFS, Ratio, find
from streams.metrics.scored import TENTHS

(
    PREDICTIONS,
    ERRORS,
    SLOW,
    TIMED,
    LATENCY_MS,
    FRESHNESS_MS,
    IMPRESSIONS,
    CLICKS,
    CONVERSIONS,
    RELEVANT,
    RELEVANT_PREDICTIONS,
    RECIPROCAL_RANK,
    LABELLED,
    SQUARED_ERROR,
    ABSOLUTE_ERROR,
    ANOMALIES,
    LATE,
    DUPLICATES,
    EXPIRED,
    UNMATCHED,
    UNANSWERED,
    SKEWED,
    MISPARTITIONED,
    DEAD_LETTERS,
    INCOMPLETE,
    PAIRS,
    POSITIVES,
    PREDICTED_POSITIVES,
    TRUE_POSITIVES,
    CORRECT,
    LOG_LOSS,
    SQUARED_SCORE_ERROR,
    EXPECTED_POSITIVES,
    RELIABILITY,
) = range(34)
"""Slots. `RELIABILITY` is the first of three for each tenth: pairs, sum of scores, positives."""

RANKED = RELIABILITY + 3 * TENTHS
"""The first slot of the sums with a cut-off."""

NAMES = (
    *("predictions", "errors", "slow", "timed", "latency_ms", "freshness_ms"),
    *("impressions", "clicks", "conversions"),
    *("relevant", "relevant_predictions", "reciprocal_rank"),
    *("labelled", "squared_error", "absolute_error", "anomalies"),
    *COUNTS,
    *("pairs", "positives", "predicted_positives", "true_positives", "correct"),
    *("log_loss", "squared_score_error", "expected_positives"),
)
"""Of the slots before `RELIABILITY`."""

AT_K = ("hits", "places", "hit_predictions", "ndcg", "average_precision")
"""Of each cut-off, from `RANKED` on; `hits` is written out even where it is 0, so that a pane tells its
cut-offs.
"""

HITS, PLACES, HIT_PREDICTIONS, NDCG, AVERAGE_PRECISION = range(5)


def layout(cutoffs: int) -> range:
    """The slots of cells whose policies have at most so many cut-offs."""
    return range(RANKED + len(AT_K) * cutoffs)


def names_at(cutoffs: Sequence[int]) -> list[str]:
    """The names of a policy's sums with a cut-off, from slot `RANKED` on."""
    return [f"{name}@{k}" for k in cutoffs for name in AT_K]


def slots_of(metrics: Iterable[str], cutoffs: Sequence[int]) -> list[int]:
    """The slots of the sums that make metrics, each once, `PREDICTIONS` first. What is no ratio of sums has
    none.
    """
    slots = {name: slot for slot, name in enumerate(NAMES)}
    slots |= {name: RANKED + i for i, name in enumerate(names_at(cutoffs))}
    slots |= {f"{name}@{k}": slots[name] for name in OF_ALL_CUT_OFFS for k in cutoffs}
    found = dict.fromkeys([PREDICTIONS])
    for metric in map(find, metrics):
        if isinstance(metric, Ratio):
            found |= dict.fromkeys(slots[name] for name in metric.sums if name in slots)
    return list(found)
