"""ONNX files taken apart: the oracle is the `onnx` package, which reads and writes them."""

import gc
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from serving import publishing, runtime, weights
from serving.devices import Device, Execution
from serving.pace import PIECE
from serving.repository import Repository
from tests import serving_models as models

ROWS = 300_000


def large(kind: str) -> npt.NDArray[np.generic]:
    """A table of more than `weights.LARGE` bytes."""
    return np.random.default_rng(0).integers(0, 100, (ROWS, 4)).astype(kind)


def model(*tensors: TensorProto) -> onnx.ModelProto:
    """Looks its input up in each of `tensors`."""
    nodes = [
        helper.make_node("Gather", [tensor.name, "item"], [f"out{n}"]) for n, tensor in enumerate(tensors)
    ]
    item = helper.make_tensor_value_info("item", TensorProto.INT64, ["n"])
    outputs = [
        helper.make_tensor_value_info(f"out{n}", tensor.data_type, ["n", *tensor.dims[1:]])
        for n, tensor in enumerate(tensors)
    ]
    graph = helper.make_graph(nodes, "tables", [item], outputs, list(tensors))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def saved(folder: Path, made: onnx.ModelProto) -> Path:
    file = folder / "model.onnx"
    file.write_bytes(made.SerializeToString())
    return file


KINDS = (
    "float32",
    "float64",
    "float16",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
)


@pytest.mark.parametrize("kind", [*KINDS, "bool"])
def test_large_weights_are_read_from_their_places(tmp_path: Path, kind: str) -> None:
    table = large(kind)
    file = saved(tmp_path, model(numpy_helper.from_array(table, "table")))
    parts = weights.taken_apart(file)
    assert parts is not None
    found = weights.read(file, parts.places)["table"]
    assert found.dtype == table.dtype
    assert np.array_equal(found, table)


def test_reading_rests_between_pieces(tmp_path: Path) -> None:
    table = large("float32")
    file = saved(tmp_path, model(numpy_helper.from_array(table, "table")))
    parts = weights.taken_apart(file)
    assert parts is not None
    rests: list[None] = []
    weights.read(file, parts.places, lambda: rests.append(None))
    assert len(rests) == -(-table.nbytes // PIECE)


def test_a_file_that_is_cut_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    file = saved(tmp_path, model(numpy_helper.from_array(large("float64"), "table")))
    parts = weights.taken_apart(file)
    assert parts is not None
    with pytest.raises(EOFError, match="found its end within the weight table"):
        weights.read(file, parts.places, lambda: os.truncate(file, PIECE))


def test_a_table_is_what_rows_are_looked_up_in_and_nothing_else(tmp_path: Path) -> None:
    made = model(*(numpy_helper.from_array(large("float32"), name) for name in ("table", "both", "other")))
    made.graph.node[2].op_type = "GatherElements"
    made.graph.node.append(helper.make_node("Identity", ["both"], ["copy"]))
    parts = weights.taken_apart(saved(tmp_path, made))
    assert parts is not None
    tables = {name: place.is_table for name, place in parts.places.items()}
    assert tables == {"table": True, "both": False, "other": False}


def test_what_is_left_is_the_model_with_the_large_weights_elsewhere(tmp_path: Path) -> None:
    made = model(
        numpy_helper.from_array(np.ones((3, 2), np.float32), "small"),
        numpy_helper.from_array(large("float32"), "table"),
        numpy_helper.from_array(large("int64"), "other"),
    )
    parts = weights.taken_apart(saved(tmp_path, made))
    assert parts is not None
    left = onnx.load_model_from_string(parts.graph)
    assert len(parts.graph) < 10_000
    for tensor, before in zip(left.graph.initializer, made.graph.initializer, strict=True):
        assert (tensor.name, tensor.data_type, tensor.dims) == (before.name, before.data_type, before.dims)
        if tensor.name in parts.places:
            assert tensor.data_location == TensorProto.EXTERNAL
            tensor.CopyFrom(before)
    assert left == made


@pytest.mark.parametrize("sessions", [1, 2])
def test_a_model_of_parts_scores_as_the_whole(tmp_path: Path, sessions: int) -> None:
    """Both kinds of weight: rows are looked up in a table, and multiplied with a matrix."""
    rng = np.random.default_rng(0)
    table, matrix = rng.random((800, 700), np.float32), rng.random((700, 600), np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "item"], ["row"]),
        helper.make_node("MatMul", ["row", "matrix"], ["product"]),
        helper.make_node("ReduceMax", ["product"], ["score"], axes=[-1], keepdims=0),
    ]
    tensors = [numpy_helper.from_array(table, "table"), numpy_helper.from_array(matrix, "matrix")]
    item = helper.make_tensor_value_info("item", TensorProto.INT64, ["n", 1])
    score = helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n", 1])
    graph = helper.make_graph(nodes, "both", [item], [score], tensors)
    file = tmp_path / "both.onnx"
    (tmp_path / "models").mkdir()
    onnx.save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), file)
    parts = weights.taken_apart(file)
    assert parts is not None
    assert {name: place.is_table for name, place in parts.places.items()} == {"table": True, "matrix": False}
    package = publishing.add(Repository(tmp_path / "models"), file, "both", "v1")
    loaded = runtime.load(package, Execution((Device("cpu"),) * sessions))
    asked = {"item": rng.integers(0, len(table), (200, 1))}
    (whole,) = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"]).run(None, asked)
    assert np.array_equal(loaded.score(asked), whole.reshape(-1))


def large_version(root: Path) -> Path:
    """The ONNX file of a version in the repository `root` that is taken apart."""
    file = models.add_version(root, "v1") / "model.onnx"
    made = onnx.load_model(str(file))
    table = numpy_helper.to_array(made.graph.initializer[0])
    made.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.tile(table, 300), "table"))
    file.write_bytes(made.SerializeToString())
    assert weights.taken_apart(file) is not None
    return file


def test_a_version_in_memory_does_not_need_its_file_any_more(tmp_path: Path) -> None:
    file = large_version(tmp_path)
    loaded = runtime.load(Repository(tmp_path).open(models.MODEL, "v1"))
    asked = {
        "item": np.array([[3], [models.ITEMS + 5]]),
        "context": np.zeros((2, models.WIDTH), np.float32),
    }
    with file.open("r+b") as opened:
        opened.truncate(10)
    assert loaded.score(asked) == pytest.approx(np.log(models.scores()[[3, 5]]), rel=1e-6)


def parts_in_memory() -> int:
    gc.collect()
    return sum(isinstance(value, ort.OrtValue) for value in gc.get_objects())


def test_where_onnx_runtime_takes_no_parts_the_whole_is_in_memory_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large_version(tmp_path)
    session, before = ort.InferenceSession, parts_in_memory()

    def picky(model: str | bytes, *others: object, **options: object) -> ort.InferenceSession:
        if isinstance(model, bytes):
            raise ValueError("no parts, please")
        return session(model, *others, **options)

    monkeypatch.setattr(ort, "InferenceSession", picky)
    loaded = runtime.load(Repository(tmp_path).open(models.MODEL, "v1"))
    asked = {"item": np.array([[3]]), "context": np.zeros((1, models.WIDTH), np.float32)}
    assert loaded.score(asked) == pytest.approx(np.log(models.scores()[[3]]), rel=1e-6)
    assert parts_in_memory() == before


@pytest.mark.parametrize("size", [100, weights.LARGE // 2])
def test_a_file_without_large_weights_is_left_whole(tmp_path: Path, size: int) -> None:
    tables = [numpy_helper.from_array(np.zeros(size, np.uint8), f"t{n}") for n in range(4)]
    assert weights.taken_apart(saved(tmp_path, model(*tables))) is None


def test_a_file_with_weights_in_other_files_is_left_whole(tmp_path: Path) -> None:
    elsewhere = numpy_helper.from_array(np.zeros(4, np.float32), "elsewhere")
    elsewhere.ClearField("raw_data")
    elsewhere.data_location = TensorProto.EXTERNAL
    made = model(numpy_helper.from_array(large("float32"), "table"), elsewhere)
    assert weights.taken_apart(saved(tmp_path, made)) is None


def test_weights_of_a_wrong_size_are_left_to_onnx_runtime(tmp_path: Path) -> None:
    table = numpy_helper.from_array(large("float32"), "table")
    table.dims[0] += 1
    assert weights.taken_apart(saved(tmp_path, model(table))) is None


def test_damaged_files_are_left_whole_or_keep_their_weights_within_the_file(tmp_path: Path) -> None:
    content = saved(tmp_path, model(numpy_helper.from_array(large("float32"), "table"))).read_bytes()
    rng = np.random.default_rng(0)
    file = tmp_path / "damaged"
    for place in [*range(60), *rng.integers(0, len(content), 40)]:
        damaged = bytearray(content)
        damaged[place] ^= int(rng.integers(1, 256))
        file.write_bytes(damaged)
        parts = weights.taken_apart(file)
        assert parts is None or weights.read(file, parts.places)
    for end in (weights.LARGE, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:end])
        assert weights.taken_apart(file) is None
