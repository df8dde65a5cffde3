"""What the demo's versions reach offline, in the replay's second act, and how many requests a test needs.

`python -m infra.demo.offline [seed]` prints it. The models are the exported ones, run by ONNX Runtime. The
demo's policy is chosen from these figures.
"""

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime
from rich.console import Console
from rich.table import Table

from infra.demo import models, movielens
from infra.demo.movielens import Ints, MovieLens
from infra.demo.visits import CHUNK, SECOND, Floats, Sampler, Visits, before, popularity, replayed
from streams.judge.statistics.sequences import Sequence

PASSES = 8
"""How often the visits are replayed, with other candidates each time."""

LEVEL = 0.05
POWER = 0.8416
"""The normal quantile of a power of 80 %."""

MARGINS = (0.02, 0.03, 0.05, 0.1)
SHARES = (0.5, 0.1)
SHOWN = (5, 10)


class Judged(NamedTuple):
    """What a version reached with the best `shown` items on display; the errors are standard errors.

    `spread` is the squared coefficient of variation of a visit's clicks, to which the requests needed are in
    proportion; where impressions apart would have more, it is theirs: the judge takes no less for a share.
    """

    ctr: float
    ctr_error: float
    recall: float
    recall_error: float
    spread: float


def judge(scores: npt.NDArray[np.floating], candidates: Ints, visits: Visits, shown: int) -> Judged:
    """CTR and recall of the best `shown` of `candidates` [n, 40] by `scores` [n, 40]: ratios of sums."""
    relevant = (candidates[:, :, None] == visits.relevant[:, None, :]).any(axis=2)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :shown]
    clicks = np.take_along_axis(relevant, best, axis=1).sum(axis=1)
    wanted = relevant.sum(axis=1)
    ctr = clicks.mean() / shown
    recall = clicks.sum() / wanted.sum()
    root = np.sqrt(len(clicks))
    return Judged(
        ctr=float(ctr),
        ctr_error=float(clicks.std() / shown / root),
        recall=float(recall),
        # Linearized, as relevant items are not equally many in each visit.
        recall_error=float((clicks - recall * wanted).std() / wanted.mean() / root),
        spread=float(max(clicks.var() / clicks.mean() ** 2, (1 - ctr) / ctr / shown)),
    )


def requests_needed(spread: float, effect: float, share: float) -> float:
    """Requests of both arms, `share` of them the candidate's, that prove a relative `effect` with power 0.8.

    By the judge's own boundary, which holds at any of many looks, where it is tightest; alone at level 0.05.
    """
    boundary = Sequence(LEVEL, tuned=1.0).boundary(1.0)
    return float(spread * (1 / share + 1 / (1 - share)) * ((boundary + POWER) / effect) ** 2)


def scores_of(model: Path, visits: Visits, candidates: Ints) -> Floats:
    """Scores [n, m] of `candidates` [n, m] by an exported model, in batches as a worker would make them."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    history = np.repeat(visits.history, candidates.shape[1], axis=0)
    item = candidates.reshape(-1, 1)
    batch = CHUNK * candidates.shape[1]
    parts = [
        session.run(["score"], {"history": history[at : at + batch], "item": item[at : at + batch]})[0]
        for at in range(0, len(item), batch)
    ]
    return np.concatenate(parts).astype(float).reshape(candidates.shape)


def compare(data: MovieLens, repository: Path, seed: int, passes: int) -> dict[int, dict[str, Judged]]:
    """By the number of items shown: what popularity and every version reach in `passes` of the second act."""
    once = replayed(data, SECOND)
    visits = once.take(np.tile(np.arange(len(once.user)), passes))
    popular = popularity(data, before(data, SECOND))
    candidates = Sampler(data, popular).draw(visits, np.random.default_rng(seed))
    scores: dict[str, Floats] = {"popularity": popular[candidates].astype(float)}
    for version in (models.STABLE, models.RETRAINED, models.BROKEN):
        model = repository / models.MODEL / version / "model.onnx"
        scores[version] = scores_of(model, visits, candidates)
    return {
        shown: {name: judge(found, candidates, visits, shown) for name, found in scores.items()}
        for shown in SHOWN
    }


def reached(found: dict[int, dict[str, Judged]]) -> Table:
    """CTR and recall by what is shown and who ranks."""
    table = Table(
        "shown", "ranked by", "CTR", "recall", title=f"reached in {PASSES} passes of the second act"
    )
    for shown, rankers in found.items():
        for name, it in rankers.items():
            ctr, recall = f"{it.ctr:.4f} ± {it.ctr_error:.4f}", f"{it.recall:.4f} ± {it.recall_error:.4f}"
            table.add_row(str(shown), name, ctr, recall)
    return table


def needed(found: dict[int, dict[str, Judged]]) -> Table:
    """Requests by what is to be proven of CTR, and the candidate's share."""
    shares = [f"at {share:.0%}" for share in SHARES]
    table = Table("shown", "to be proven of CTR", *shares, title="requests needed, both arms together")
    for shown, rankers in found.items():
        v1, v2, v3 = (rankers[version] for version in (models.STABLE, models.RETRAINED, models.BROKEN))
        better, worse = v2.ctr / v1.ctr - 1, 1 - v3.ctr / v2.ctr
        effects = {f"v3 is worse than v2 (by {worse:.1%})": worse, f"v2 is better (by {better:.1%})": better}
        effects |= {f"v2 is not worse than v1 by {margin:.0%}": better + margin for margin in MARGINS}
        effects |= {f"an equal version is not worse by {margin:.0%}": margin for margin in MARGINS}
        for question, effect in effects.items():
            requests = [f"{requests_needed(v1.spread, effect, share):,.0f}" for share in SHARES]
            table.add_row(str(shown), question, *requests)
    return table


if __name__ == "__main__":
    chosen = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    movies = movielens.load(movielens.fetch())
    results = compare(movies, models.repository(movies, chosen), chosen, PASSES)
    Console().print(reached(results), needed(results))
