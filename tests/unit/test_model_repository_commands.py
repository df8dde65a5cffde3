"""`headgate model`: versions put into a repository, looked at, checked, converted; with real ONNX models."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from infra import cli
from serving import runtime
from serving.repository import Repository, checksum
from tests.serving_models import MODEL, add_version, inputs

WIDTH = 64


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    add_version(folder, "v1")
    return folder


def network(file: Path, outputs: tuple[str, ...] = ("score",), size: float = 0.1) -> Path:
    """Two layers over 64 numbers a row, weights of about `size`."""
    chance = np.random.default_rng(7)
    weights = {
        "first": (chance.normal(size=(WIDTH, WIDTH)) * size).astype(np.float32),
        "second": (chance.normal(size=(WIDTH, 1)) * size).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["features", "first"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["positive"]),
        helper.make_node("MatMul", ["positive", "second"], ["score"]),
        *(helper.make_node("Identity", ["score"], [name]) for name in outputs if name != "score"),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", WIDTH])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 1]) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save_model(built, str(file))
    return file


def requests(file: Path, count: int = 40) -> Path:
    """As many requests for `net`, of twelve items each."""
    chance = np.random.default_rng(3)
    lines = []
    for number in range(count):
        rows = chance.normal(size=(12, WIDTH)).round(4).tolist()
        value = {
            "request_id": f"r{number}",
            "ts": 1_767_268_800_000,
            "model": "net",
            "items": list(range(12)),
        }
        lines.append(
            json.dumps({"topic": "inference.requests", "value": value | {"inputs": {"features": rows}}})
        )
    file.write_text("\n".join(lines))
    return file


def headgate(*arguments: str | Path) -> int:
    return cli.main([str(argument) for argument in arguments])


def test_what_is_added_can_be_served(tmp_path: Path, models: Path) -> None:
    assert headgate("model", "add", network(tmp_path / "n.onnx"), "net", "v1", "--models", models) == 0
    package = Repository(models).open("net", "v1")
    scores = runtime.load(package).score({"features": np.ones((3, WIDTH), np.float32)})
    assert scores.shape == (3,)
    assert package.manifest.model.sha256 == checksum(tmp_path / "n.onnx")
    assert package.manifest.inputs["features"].row == (WIDTH,)


def test_weights_in_other_files_are_put_into_the_one(tmp_path: Path, models: Path) -> None:
    whole = network(tmp_path / "whole.onnx")
    apart = tmp_path / "apart" / "net.onnx"
    apart.parent.mkdir()
    onnx.save_model(
        onnx.load_model(str(whole)), str(apart), save_as_external_data=True, location="w", size_threshold=0
    )
    for version, file in (("v1", whole), ("v2", apart)):
        assert cli.main(["model", "add", str(file), "net", version, "--models", str(models)]) == 0
    shutil.rmtree(apart.parent)
    packages = [Repository(models).open("net", version) for version in ("v1", "v2")]
    assert [path.name for path in sorted(packages[1].folder.iterdir())] == ["model.onnx", "model.toml"]
    rows = {"features": np.random.default_rng(0).normal(size=(5, WIDTH)).astype(np.float32)}
    first, second = (runtime.load(package).score(rows) for package in packages)
    assert first.tolist() == second.tolist()


def test_a_version_is_never_replaced(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Repository(models).fingerprint(MODEL, "v1")
    assert headgate("model", "add", network(tmp_path / "n.onnx"), MODEL, "v1", "--models", models) == 1
    assert "expected a new one" in capsys.readouterr().err
    assert Repository(models).fingerprint(MODEL, "v1") == before


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "n" * 300])
def test_a_name_that_no_folder_can_have_is_refused(tmp_path: Path, models: Path, name: str) -> None:
    assert headgate("model", "add", network(tmp_path / "n.onnx"), "net", name, "--models", models) == 1
    assert Repository(models).models() == [MODEL]


@pytest.mark.parametrize("option", ["--max-batch=0", "--max-batch=5000", "--wait-ms=5000", "--wait-ms=nan"])
def test_a_batch_that_cannot_be_is_a_mistake_of_the_command(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        headgate("model", "add", network(tmp_path / "n.onnx"), "net", "v1", "--models", models, option)
    assert ended.value.code == 2
    assert re.search(r"argument --[a-z-]+: found '\w+': Expected", capsys.readouterr().err)


def test_files_that_are_not_there_or_in_the_way_are_named(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx = network(tmp_path / "n.onnx")
    (models / "file").write_text("")
    added = ("model", "add", onnx, "net", "v1", "--models", models)
    assert headgate(*added, "--profile", tmp_path / "none.json") == 1
    assert "none.json: No such file or directory; expected" in capsys.readouterr().err
    assert headgate("model", "add", onnx, "file", "v1", "--models", models) == 1
    assert "file: File exists; expected" in capsys.readouterr().err
    assert [path.name for path in models.iterdir() if path.name.startswith(".")] == []


def test_what_stands_in_brackets_is_printed(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert headgate("model", "list", "--models", models) == 0
    assert "item: int64 [-1, 1]" in capsys.readouterr().out
    (models / MODEL / "[bold]v").mkdir()
    assert headgate("model", "list", "--models", models) == 1
    assert "[bold]v" in capsys.readouterr().out


def test_what_cannot_be_served_leaves_nothing_behind(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    assert headgate("model", "add", broken, "net", "v1", "--models", models) == 1
    assert "expected an ONNX model" in capsys.readouterr().err
    assert [path.name for path in models.iterdir()] == [MODEL]


def test_of_several_outputs_the_scores_have_to_be_named(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = network(tmp_path / "n.onnx", outputs=("score", "other"))
    assert headgate("model", "add", file, "net", "v1", "--models", models) == 1
    assert "found the outputs score, other" in capsys.readouterr().err
    assert headgate("model", "add", file, "net", "v1", "--models", models, "--output", "score") == 0


def test_check_loads_what_there_is_and_says_what_is_wrong(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    headgate("model", "add", network(tmp_path / "n.onnx"), "net", "v1", "--models", models)
    onnx_file = models / "net" / "v1" / "model.onnx"
    network(onnx_file, size=0.2)
    capsys.readouterr()
    assert headgate("model", "check", "--models", models, "--json") == 1
    damaged, sound = json.loads(capsys.readouterr().out)
    assert f"found SHA-256 {checksum(onnx_file)}" in damaged["wrong"]
    assert "model.toml:4 says" in damaged["wrong"]
    assert sound["version"] == "v1"
    assert sound["providers"]
    assert sound["run_ms"]["32"] > 0


def test_list_says_what_there_is(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert headgate("model", "list", "--models", models) == 0
    out = capsys.readouterr().out
    assert "ranker" in out
    assert "int64 [-1, 1]" in out


def test_nothing_to_look_at_is_a_failure(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert headgate("model", "check", "--models", models, "other", "v7") == 1
    assert "expected other v7" in capsys.readouterr().err


@pytest.mark.parametrize(("precision", "most"), [("int8", 0.05), ("fp16", 0.001)])
def test_a_conversion_is_smaller_and_says_what_it_costs(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str], precision: str, most: float
) -> None:
    headgate("model", "add", network(tmp_path / "n.onnx"), "net", "v1", "--models", models)
    capsys.readouterr()
    command = ("model", "quantize", "net", "v1", "--models", models, "--to", precision, "--json")
    assert headgate(*command, "--requests", requests(tmp_path / "r.jsonl")) == 0
    told = json.loads(capsys.readouterr().out)
    repository = Repository(models)
    made = repository.open("net", f"v1-{precision}")
    assert made.onnx.stat().st_size < 0.7 * repository.open("net", "v1").onnx.stat().st_size

    original, converted = (runtime.load(repository.open("net", name)) for name in ("v1", f"v1-{precision}"))
    gaps = []
    for line in (tmp_path / "r.jsonl").read_text().splitlines():
        rows = np.array(json.loads(line)["value"]["inputs"]["features"], np.float32)
        gaps.append(np.abs(original.score({"features": rows}) - converted.score({"features": rows})))
    assert told["loss"]["requests"] == 40
    assert told["loss"]["mean"] == pytest.approx(float(np.concatenate(gaps).mean()), rel=1e-6)
    assert 0 < told["loss"]["mean"] < most
    assert told["loss"]["ndcg"] > 0.95


def test_a_conversion_with_scores_that_are_no_numbers_is_refused_and_not_kept(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "r.jsonl"
    odd = {
        "request_id": "r",
        "ts": 1_767_268_800_000,
        "model": MODEL,
        "items": [999],
        "inputs": inputs([999]),
    }
    file.write_text(json.dumps(odd))
    command = ("model", "quantize", MODEL, "v1", "--models", models, "--to", "fp16")
    assert headgate(*command, "--requests", file) == 1
    assert "are not finite" in capsys.readouterr().err
    assert Repository(models).versions(MODEL) == ["v1"]


def test_requests_of_another_model_are_no_basis(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("model", "quantize", MODEL, "v1", "--models", models, "--to", "int8")
    assert headgate(*command, "--requests", requests(tmp_path / "r.jsonl")) == 1
    assert f"found no request of {MODEL}" in capsys.readouterr().err


def test_a_bad_line_is_named(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "r.jsonl"
    good = {"request_id": "r", "ts": 1_767_268_800_000, "model": MODEL, "items": [1], "inputs": inputs([1])}
    file.write_text(json.dumps(good) + "\n{\n")
    assert (
        headgate("model", "quantize", MODEL, "v1", "--models", models, "--to", "int8", "--requests", file)
        == 1
    )
    assert "r.jsonl:2:" in capsys.readouterr().err
