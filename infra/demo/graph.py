"""The ranker as an ONNX graph: the arithmetic of `ranker.score`, one row a candidate.

Requests' rows are concatenated into one batch, so a history is repeated beside each of its candidates. An
item number that the model does not know counts as item 0, so that one odd request cannot fail the batch that
it is in.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from infra.demo.ranker import DECAY, FLOOR, Ranker
from infra.demo.visits import HISTORY

OPSET = 17
IR_VERSION = 8
"""Of 2022: what ONNX Runtime has read for years is enough."""

ROWS = "rows"
"""The free dimension: candidates of all requests of a batch."""


def build(ranker: Ranker) -> onnx.ModelProto:
    """Inputs `history` int64 [rows, 20], latest first and filled up with 0, and `item` int64 [rows, 1];
    output `score` float32 [rows], between 0 and 1.
    """
    graph = helper.make_graph(
        [*_known("history"), *_known("item"), *_affinity(), *_score()],
        "ranker",
        inputs=[
            helper.make_tensor_value_info("history", TensorProto.INT64, [ROWS, HISTORY]),
            helper.make_tensor_value_info("item", TensorProto.INT64, [ROWS, 1]),
        ],
        outputs=[helper.make_tensor_value_info("score", TensorProto.FLOAT, [ROWS])],
        initializer=[numpy_helper.from_array(table, name) for name, table in _tables(ranker).items()],
    )
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, producer_name="headgate", opset_imports=[opset], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return model


def _tables(ranker: Ranker) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32 | np.int64]]]:
    return {
        "history_factors": ranker.factors.history,
        "item_factors": ranker.factors.item,
        "warm_bias": ranker.warm_bias,
        "cold_bias": ranker.cold_bias,
        "slope": np.array(ranker.slope, np.float32),
        "decay": DECAY[None, :],
        "floor": np.array(FLOOR, np.float32),
        "items": np.array(len(ranker.warm_bias), np.int64),
        "no_item": np.array(0, np.int64),
        "no_affinity": np.array(0, np.float32),
        "second_axis": np.array([1], np.int64),
    }


def _known(ids: str) -> list[onnx.NodeProto]:
    """`known_<ids>`: the ids that the tables have a row for, 0 for the others."""
    return [
        helper.make_node("GreaterOrEqual", [ids, "no_item"], [f"{ids}_from_0"]),
        helper.make_node("Less", [ids, "items"], [f"{ids}_in_table"]),
        helper.make_node("And", [f"{ids}_from_0", f"{ids}_in_table"], [f"{ids}_is_known"]),
        helper.make_node("Where", [f"{ids}_is_known", ids, "no_item"], [f"known_{ids}"]),
    ]


def _affinity() -> list[onnx.NodeProto]:
    """`log_affinity` [rows, 1]."""
    return [
        helper.make_node("Gather", ["history_factors", "known_history"], ["past"]),  # [rows, 20, 64]
        helper.make_node("MatMul", ["decay", "past"], ["taste"]),  # [rows, 1, 64]
        helper.make_node("Gather", ["item_factors", "known_item"], ["candidate"]),  # [rows, 1, 64]
        helper.make_node("Mul", ["taste", "candidate"], ["products"]),
        helper.make_node("ReduceSum", ["products", "second_axis"], ["per_factor"], keepdims=0),  # [rows, 64]
        helper.make_node("ReduceSum", ["per_factor", "second_axis"], ["inner"], keepdims=1),  # [rows, 1]
        helper.make_node("Max", ["inner", "no_affinity"], ["affinity"]),
        helper.make_node("Add", ["affinity", "floor"], ["affinity_above_0"]),
        helper.make_node("Log", ["affinity_above_0"], ["log_affinity"]),
    ]


def _score() -> list[onnx.NodeProto]:
    """`score` [rows]: from the warm head where there is a history, else from the cold one."""
    return [
        helper.make_node("Gather", ["warm_bias", "known_item"], ["warm_item"]),
        helper.make_node("Mul", ["log_affinity", "slope"], ["warm_history"]),
        helper.make_node("Add", ["warm_history", "warm_item"], ["warm_logit"]),
        helper.make_node("Gather", ["cold_bias", "known_item"], ["cold_logit"]),
        helper.make_node("ReduceMax", ["known_history"], ["any_item"], axes=[1], keepdims=1),
        helper.make_node("Equal", ["any_item", "no_item"], ["is_cold"]),
        helper.make_node("Where", ["is_cold", "cold_logit", "warm_logit"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["chance"]),
        helper.make_node("Squeeze", ["chance", "second_axis"], ["score"]),
    ]
