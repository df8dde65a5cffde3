"""A model as one file; and a version in lower precision: smaller, and faster where the hardware has it.
INT8 keeps weights in 8 bits and computes activations' ranges as they come (dynamic quantization, which needs
no calibration data); FP16 keeps everything between inputs and outputs in half precision.

Inputs and outputs stay as they are, so requests do not change. What it costs in accuracy is measured on
requests: see `compare`. Beside `runtime.py` the only importer of ONNX Runtime, and of `onnx`.
"""

import math
import shutil
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx.external_data_helper import load_external_data_for_model, uses_external_data
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers.float16 import convert_float_to_float16

from schemas.errors import HeadgateError
from serving.inputs import Rows
from serving.runtime import Runtime

Scores = npt.NDArray[np.float64]

AT = 10
"""The ranks that `compare` looks at."""


class Precision(StrEnum):
    """What a version is converted to."""

    INT8 = "int8"
    FP16 = "fp16"


class Loss(NamedTuple):
    """What a conversion does to the scores and rankings of `requests` requests.

    `mean`, `largest`: of the absolute differences of scores. `ndcg`: of the converted ranking's first `AT`,
    the gains being the original's scores above their lowest (1: the same order), averaged over requests.
    `same_first`: the share of requests whose first item stays. `correlation`: Spearman's, averaged over
    requests with several items.
    """

    requests: int
    mean: float
    largest: float
    ndcg: float
    same_first: float
    correlation: float


def convert(source: Path, target: Path, precision: Precision) -> None:
    """Writes `source` in the given precision to `target`. Raises `HeadgateError` where it cannot be done."""
    try:
        if precision is Precision.INT8:
            quantize_dynamic(source, target, weight_type=QuantType.QInt8)
        else:
            onnx.save_model(
                convert_float_to_float16(onnx.load_model(str(source)), keep_io_types=True), str(target)
            )
    except Exception as error:  # the converters' exceptions have no common base
        raise HeadgateError(
            f"{source}: cannot be converted to {precision}: {' '.join(str(error).split())}"
        ) from error


def copy_whole(source: Path, target: Path) -> None:
    """Copies an ONNX file. Weights that lie in other files beside it, as PyTorch's exporter writes those of
    large models, are written into the copy: a checksum is one file's.

    Raises `HeadgateError` where they make it larger than an ONNX file can be, `OSError`.
    """
    model = onnx.load_model(str(source), load_external_data=False)
    if not any(uses_external_data(weight) for weight in model.graph.initializer):
        shutil.copyfile(source, target)
        return
    load_external_data_for_model(model, str(source.parent))
    size = source.stat().st_size + sum(len(weight.raw_data) for weight in model.graph.initializer)
    if size > onnx.checker.MAXIMUM_PROTOBUF:
        raise HeadgateError(
            f"{source}: found {size / 2**30:.1f} GiB, most of it in other files, expected less than 2 GiB, "
            "which is what one ONNX file holds; a folder made by hand may have several (serving/README.md)"
        )
    onnx.save_model(model, str(target))


def compare(original: Runtime, converted: Runtime, requests: Sequence[Rows]) -> Loss:
    """Scores the rows of each request with both.

    Raises `HeadgateError` where there is no request, or the converted one's scores are not finite: FP16 ends
    at 65,504.
    """
    pairs = [(_scores(original, rows), _scores(converted, rows)) for rows in requests]
    if not pairs:
        raise HeadgateError("found no request to compare with, expected at least one")
    if not all(np.isfinite(before).all() for before, _ in pairs):
        raise HeadgateError(
            f"{original.package.onnx}: found scores that are not finite before anything was converted; "
            "expected finite ones for these requests"
        )
    if not all(np.isfinite(after).all() for _, after in pairs):
        raise HeadgateError(
            f"{converted.version}: found scores that are not finite; the model's numbers do not fit"
        )
    gaps = np.concatenate([np.abs(before - after) for before, after in pairs])
    several = [(before, after) for before, after in pairs if len(before) > 1]
    return Loss(
        requests=len(pairs),
        mean=float(gaps.mean()),
        largest=float(gaps.max()),
        ndcg=float(np.mean([_ndcg(before, after) for before, after in pairs])),
        same_first=float(np.mean([before.argmax() == after.argmax() for before, after in pairs])),
        correlation=float(np.mean([_spearman(*pair) for pair in several])) if several else math.nan,
    )


def _scores(runtime: Runtime, rows: Rows) -> Scores:
    try:
        return runtime.score(rows).astype(np.float64)
    except Exception as error:  # whatever a model raises
        raise HeadgateError(
            f"{runtime.version}: cannot score one of the requests: {' '.join(str(error).split())}; expected "
            "requests that the model takes"
        ) from error


def _ndcg(before: Scores, after: Scores) -> float:
    gains = before - before.min()
    discounts = 1 / np.log2(np.arange(min(AT, len(gains))) + 2)
    ideal = float(np.sort(gains)[::-1][:AT] @ discounts)
    found = float(gains[np.argsort(-after, kind="stable")][:AT] @ discounts)
    return found / ideal if ideal > 0 else 1.0


def _spearman(before: Scores, after: Scores) -> float:
    first, second = _ranks(before), _ranks(after)
    if not first.std() or not second.std():
        return float(np.array_equal(first, second))
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(scores: Scores) -> Scores:
    """Ranks from 0 on, of equal scores the mean of theirs."""
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return ((ends - counts + ends - 1) / 2)[place]
