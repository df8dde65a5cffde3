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


TOUCHY = """\
[model]
name = "{model}"
version = "{version}"

[inputs.item]
dtype = "int64"
shape = [-1, 1]

[inputs.divisor]
dtype = "int64"
shape = [-1, 1]

[inputs.turns]
dtype = "int64"
shape = [-1, 1]

[output]
name = "score"
"""

LOWEST = -(2**63)

HOURS = 10**12
"""Turns of the loop."""


def add_touchy_version(
    repository: Path, version: str, model: str = MODEL, less: int = 7, constant: int = 0, more: int = 0
) -> Path:
    """A version that answers `(item + constant) / (divisor - less)`, whole numbers, after `turns + more`
    turns of a loop that does nothing. ONNX Runtime checks for a division by zero; on x86 `LOWEST` / -1 ends
    its process with SIGFPE. So `inputs` of `crash` crash it, and those of `hang` take hours; zeros, with
    which a version is warmed up, do the one with `less` 1 and `constant` `LOWEST`, the other with `more`
    `HOURS`. Inputs: all int64 [n, 1].
    """
    column: list[str | int | None] = ["n", 1]
    int64 = TensorProto.INT64
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Add", ["sum", "nothing"], ["next"])],
        "body",
        [
            helper.make_tensor_value_info("turn", int64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", int64, column),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", int64, column),
        ],
    )
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["item", "constant"], ["dividend"]),
            helper.make_node("Sub", ["divisor", "less"], ["by"]),
            helper.make_node("Div", ["dividend", "by"], ["quotient"]),
            helper.make_node("ReduceMax", ["turns"], ["asked"], keepdims=0),
            helper.make_node("Add", ["asked", "more"], ["trips"]),
            helper.make_node("Loop", ["trips", "", "quotient"], ["looped"], body=body),
            helper.make_node("Cast", ["looped"], ["score"], to=TensorProto.FLOAT),
        ],
        "touchy",
        [helper.make_tensor_value_info(name, int64, column) for name in ("item", "divisor", "turns")],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, column)],
        [
            numpy_helper.from_array(np.array([[number]], np.int64), name)
            for name, number in (("less", less), ("constant", constant), ("nothing", 0))
        ]
        + [numpy_helper.from_array(np.array(more, np.int64), "more")],
    )
    folder = repository / model / version
    folder.mkdir(parents=True)
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save_model(built, str(folder / "model.onnx"))
    (folder / "model.toml").write_text(TOUCHY.format(model=model, version=version))
    return folder


def touchy(items: Sequence[int], divisor: int = 8, turns: int = 0) -> dict[str, object]:
    """The `inputs` of a request to a touchy version: it answers the items, divided by `divisor` - 7."""
    return {"item": list(items), "divisor": divisor, "turns": turns}


def crash() -> dict[str, object]:
    """`inputs` of three items that end the process."""
    return touchy([1, LOWEST, 3], divisor=6)


def hang() -> dict[str, object]:
    """`inputs` of three items whose run takes hours."""
    return touchy([1, 2, 3], turns=HOURS)


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
