"""The large model that serving is measured with, made here from a seed, and requests for any model.

It is a DLRM (Naumov and others, "Deep Learning Recommendation Model for Personalization and Recommendation
Systems", 2019) with the layers of MLPerf's benchmark: one embedding table of 128 columns for the candidate
and for what the user saw before, a bottom net of 13 dense features (512-256-128), pairwise inner products, a
top net (1024-1024-512-256-1). 100 MB, and about 2.5 million multiplications a row.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from schemas.records import ENCODER
from serving import publishing
from serving.repository import Batch, Repository

ITEMS, WIDTH, DENSE, SEEN = 178_000, 128, 13, 20
BOTTOM = (DENSE, 512, 256, WIDTH)
TOP = (3 * WIDTH + 3, 1024, 1024, 512, 256, 1)
CANDIDATES = (10, 90)
"""Of a request, at least and at most; 50 on average."""
BATCH = Batch(max=16, wait_ms=5)

Weights = dict[str, npt.NDArray[np.float32]]


class Net(NamedTuple):
    """A model to measure: its name in the repository, its versions, and what a request for it has: ids of so
    many items, a `history` of so many of them, and so many `dense` features."""

    name: str
    title: str
    versions: tuple[str, ...]
    items: int
    seen: int
    dense: int


LARGE = Net("dlrm", "DLRM, 100 MB", ("v1", "v2", "v3"), ITEMS, SEEN, DENSE)


def add(repository: Repository) -> None:
    """Puts the versions of `LARGE` into a repository, with manifests and checksums. Takes some seconds."""
    for seed, version in enumerate(LARGE.versions):
        file = repository.root / f".{version}.onnx"
        onnx.save_model(dlrm(seed), str(file))
        publishing.add(repository, file, LARGE.name, version, batch=BATCH)
        file.unlink()


def requests(net: Net, count: int, seed: int, ts: int) -> Iterator[tuple[str, bytes]]:
    """`count` requests for `net` at time `ts`, as (request id, JSON): 10 to 90 candidates, one user's history
    and features for all of them.
    """
    rng = np.random.default_rng(seed)
    low, high = CANDIDATES
    for number in range(count):
        items = rng.integers(1, net.items, rng.integers(low, high + 1)).tolist()
        history = rng.integers(1, net.items, net.seen).tolist()
        dense = rng.standard_normal(net.dense).round(4).tolist()
        request_id = f"{net.name}-{seed}-{number}"
        record = {
            "request_id": request_id,
            "ts": ts,
            "model": net.name,
            "user": f"u{number % 5_000}",
            "items": items,
            "inputs": {"item": items, "history": history, "dense": dense},
        }
        yield request_id, ENCODER.encode(record)


def dlrm(seed: int) -> onnx.ModelProto:
    """The net, its weights drawn from `seed`. Inputs `item` int64 [rows, 1], `history` int64 [rows, 20],
    `dense` float32 [rows, 13]; output `score` float32 [rows, 1], between 0 and 1.
    """
    rng = np.random.default_rng(seed)
    weights: Weights = {"table": rng.standard_normal((ITEMS, WIDTH), np.float32) * np.float32(0.1)}
    nodes = [
        helper.make_node("Gather", ["table", "history"], ["seen"]),
        helper.make_node("ReduceMean", ["seen"], ["taste"], axes=[1], keepdims=1),
        helper.make_node("Gather", ["table", "item"], ["candidate"]),
        *_layers("bottom", "dense", BOTTOM, weights, rng),
        helper.make_node("Relu", ["bottom"], ["person"]),
        helper.make_node("Unsqueeze", ["person", "middle"], ["people"]),
        helper.make_node("Concat", ["people", "taste", "candidate"], ["vectors"], axis=1),
        helper.make_node("Transpose", ["vectors"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["vectors", "turned"], ["products"]),
        helper.make_node("Reshape", ["products", "nine"], ["grid"]),
        helper.make_node("Gather", ["grid", "pairs"], ["interactions"], axis=1),
        helper.make_node("Flatten", ["vectors"], ["flat"]),
        helper.make_node("Concat", ["flat", "interactions"], ["features"], axis=1),
        *_layers("top", "features", TOP, weights, rng),
        helper.make_node("Sigmoid", ["top"], ["score"]),
    ]
    constants = {"middle": np.array([1]), "nine": np.array([-1, 9]), "pairs": np.array([1, 2, 5])}
    graph = helper.make_graph(
        nodes,
        "dlrm",
        [
            helper.make_tensor_value_info("item", TensorProto.INT64, ["rows", 1]),
            helper.make_tensor_value_info("history", TensorProto.INT64, ["rows", SEEN]),
            helper.make_tensor_value_info("dense", TensorProto.FLOAT, ["rows", DENSE]),
        ],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["rows", 1])],
        [numpy_helper.from_array(array, name) for name, array in {**weights, **constants}.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _layers(
    name: str, source: str, sizes: tuple[int, ...], weights: Weights, rng: np.random.Generator
) -> Iterator[NodeProto]:
    """Linear layers with ReLU between them, from `source` to `name`."""
    last = len(sizes) - 2
    for number, (wide, narrow) in enumerate(pairwise(sizes)):
        weight, bias = f"{name}{number}.weight", f"{name}{number}.bias"
        scale = np.float32((2 / wide) ** 0.5)
        weights[weight] = rng.standard_normal((wide, narrow), np.float32) * scale
        weights[bias] = np.zeros(narrow, np.float32)
        target = name if number == last else f"{name}{number}.linear"
        yield helper.make_node("Gemm", [source, weight, bias], [target])
        if number < last:
            source = f"{name}{number}"
            yield helper.make_node("Relu", [target], [source])
