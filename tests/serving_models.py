"""Small real ONNX models in a repository: what the serving tests serve."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

MODEL = "ranker"
ITEMS = 1000
WIDTH = 4


def scores(seed: int = 0) -> npt.NDArray[np.float32]:
    """What `add_version` with `seed` answers for each item id, [ITEMS], but for the `context` it is asked
    in."""
    return np.random.default_rng(seed).random(ITEMS).astype(np.float32)


def add_version(
    repository: Path,
    version: str,
    seed: int = 0,
    batch: Mapping[str, float] | None = None,
    model: str = MODEL,
) -> Path:
    """A version that answers `log(table[item]) + mean(context)`: an id out of range makes the run fail, and
    one with a negative table entry is answered with NaN. Inputs: `item` int64 [n, 1], `context` float32 [n,
    4].
    """
    table = scores(seed)
    table[-1] = -1.0
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "item"], ["picked"]),
            helper.make_node("Log", ["picked"], ["logarithm"]),
            helper.make_node("ReduceMean", ["context"], ["mean"], axes=[1], keepdims=1),
            helper.make_node("Add", ["logarithm", "mean"], ["score"]),
        ],
        "ranker",
        [
            helper.make_tensor_value_info("item", TensorProto.INT64, ["n", 1]),
            helper.make_tensor_value_info("context", TensorProto.FLOAT, ["n", WIDTH]),
        ],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n", 1])],
        [numpy_helper.from_array(table, "table")],
    )
    folder = repository / model / version
    folder.mkdir(parents=True)
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save_model(built, str(folder / "model.onnx"))
    (folder / "model.toml").write_text(manifest(version, batch, model))
    return folder


def manifest(version: str, batch: Mapping[str, float] | None = None, model: str = MODEL) -> str:
    """The `model.toml` of a version that `add_version` makes."""
    limits = "".join(f"{name} = {value}\n" for name, value in (batch or {}).items())
    return f"""\
[model]
name = "{model}"
version = "{version}"

[inputs.item]
dtype = "int64"
shape = [-1, 1]

[inputs.context]
dtype = "float32"
shape = [-1, {WIDTH}]

[output]
name = "score"

[batch]
{limits}"""


def inputs(items: Sequence[int], context: Sequence[float] = (0, 0, 0, 0)) -> dict[str, object]:
    """The `inputs` of a request for `items`."""
    return {"item": [[item] for item in items], "context": list(context)}
