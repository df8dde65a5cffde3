"""Ranking metrics as recbole computes them: its own evaluator's code, read out of the pinned wheel.

recbole needs torch and an older numpy to be imported; the arithmetic of its metrics needs neither. So their
source alone is run, with stand-ins for the names that it imports and never uses in that arithmetic.
"""

import zipfile
from collections.abc import Sequence
from types import ModuleType, SimpleNamespace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from infra.demo import movielens, wheels

SOURCE = "recbole/evaluator/metrics.py"

Floats = npt.NDArray[np.float64]
Hits = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]


class _Unlimited(Protocol):
    def metric_info(self, pos_index: Hits) -> Floats: ...


class _Limited(Protocol):
    def metric_info(self, pos_index: Hits, pos_len: Counts) -> Floats: ...


class Evaluator:
    """Per-list metrics at every cut-off: `hits` [lists, places] says which places hold a relevant item,
    `relevant` [lists] how many relevant items each list has, at least one. Answers are [lists, places],
    column k-1 at k."""

    def __init__(self) -> None:
        module = _run()
        self._hit: _Unlimited = module.Hit(_CONFIG)
        self._mrr: _Unlimited = module.MRR(_CONFIG)
        self._precision: _Unlimited = module.Precision(_CONFIG)
        self._recall: _Limited = module.Recall(_CONFIG)
        self._ndcg: _Limited = module.NDCG(_CONFIG)
        self._map: _Limited = module.MAP(_CONFIG)

    def hit(self, hits: Hits) -> Floats:
        """1 where there is a hit."""
        return np.asarray(self._hit.metric_info(hits), float)

    def mrr(self, hits: Hits) -> Floats:
        """The reciprocal rank of the first hit."""
        return self._mrr.metric_info(hits)

    def precision(self, hits: Hits) -> Floats:
        """The share of places that are hits."""
        return self._precision.metric_info(hits)

    def recall(self, hits: Hits, relevant: Counts) -> Floats:
        """The share of relevant items that are hit."""
        return self._recall.metric_info(hits, relevant)

    def ndcg(self, hits: Hits, relevant: Counts) -> Floats:
        """Normalized discounted cumulative gain."""
        return self._ndcg.metric_info(hits, relevant)

    def map(self, hits: Hits, relevant: Counts) -> Floats:
        """Average precision."""
        return self._map.metric_info(hits, relevant)


def table(lists: Sequence[Sequence[str]], relevant: Sequence[set[str]], places: int) -> tuple[Hits, Counts]:
    """Ranked lists and their relevant items as the evaluator takes them. An item that is repeated counts
    at its first place, as the contract wants it; recbole never repeats one."""
    hits = np.zeros((len(lists), places), bool)
    for row, (items, wanted) in enumerate(zip(lists, relevant, strict=True)):
        for place, item in enumerate(items[:places]):
            hits[row, place] = item in wanted and item not in items[:place]
    return hits, np.array([len(wanted) for wanted in relevant])


_CONFIG = {"metric_decimal_place": 12, "topk": [1]}
_STAND_INS = """
class AbstractMetric:
    def __init__(self, config): self.decimal_place = config["metric_decimal_place"]
class TopkMetric(AbstractMetric): pass
class LossMetric(AbstractMetric): pass
"""


def _run() -> SimpleNamespace:
    """The classes of the evaluator's module."""
    with wheels.opened(movielens.PIN, movielens.fetch()) as archive:
        source = _without_imports(archive)
    # numpy as it was when recbole 1.2.1 was written: its old names for Python's types.
    old_numpy = ModuleType("numpy")
    old_numpy.__dict__.update({**vars(np), "float": float, "bool": bool})
    types = SimpleNamespace(RANKING="ranking", VALUE="value")
    names: dict[str, object] = {"np": old_numpy, "EvaluatorType": types}
    exec(compile(_STAND_INS + source, SOURCE, "exec"), names)
    return SimpleNamespace(**names)


def _without_imports(archive: zipfile.ZipFile) -> str:
    lines = archive.read(SOURCE).decode().splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(("import ", "from ")))
