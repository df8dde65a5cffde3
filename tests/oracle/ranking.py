"""What one ranked list adds to the sums of the ranking metrics, as the contract's section 3 defines them:
binary gain, log2 discount, an item that is repeated keeps its first position.

Held against recbole's own evaluator in `tests/unit/test_oracle_metrics.py`.
"""

from collections.abc import Collection, Sequence
from math import log2


def counts(ranked: Sequence[str], relevant: Collection[str], ks: Sequence[int]) -> dict[str, int]:
    """The whole numbers: relevant items, hits, places. Nothing where no item is relevant."""
    if not relevant:
        return {}
    sums = {"relevant": len(relevant), "relevant_predictions": 1}
    for k in ks:
        hits = len(_hits(ranked, relevant, k))
        sums |= {f"hits@{k}": hits, f"places@{k}": k, f"hit_predictions@{k}": int(hits > 0)}
    return sums


def gains(ranked: Sequence[str], relevant: Collection[str], ks: Sequence[int]) -> dict[str, float]:
    """The fractions, each at most 1: reciprocal rank over the whole list, NDCG and average precision at
    k. The ideal list has min(k, relevant) hits in front. Nothing where no item is relevant."""
    if not relevant:
        return {}
    anywhere = _hits(ranked, relevant, len(ranked))
    sums = {"reciprocal_rank": 1 / anywhere[0] if anywhere else 0.0}
    for k in ks:
        ranks, ideal = _hits(ranked, relevant, k), min(k, len(relevant))
        gained = sum(1 / log2(rank + 1) for rank in ranks)
        sums[f"ndcg@{k}"] = gained / sum(1 / log2(rank + 1) for rank in range(1, ideal + 1))
        precisions = [found / rank for found, rank in enumerate(ranks, start=1)]
        sums[f"average_precision@{k}"] = sum(precisions) / ideal
    return sums


def _hits(ranked: Sequence[str], relevant: Collection[str], k: int) -> list[int]:
    """The ranks, from 1, at which relevant items stand for the first time, up to k."""
    return [
        rank
        for rank, item in enumerate(ranked[:k], start=1)
        if item in relevant and item not in ranked[: rank - 1]
    ]
