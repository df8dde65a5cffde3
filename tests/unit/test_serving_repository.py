"""The model repository and the runtime's checks: what is served, and what each mistake in a folder is
called."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from schemas.errors import HeadgateError
from schemas.records import ENCODER, Distribution, Profile
from serving import runtime
from serving.repository import Repository
from tests import serving_models as models


@pytest.fixture
def version(tmp_path: Path) -> Path:
    return models.add_version(tmp_path, "v1")


def load(folder: Path) -> runtime.Runtime:
    return runtime.load(Repository(folder.parent.parent).open(folder.parent.name, folder.name))


def test_models_and_versions_are_the_folders_that_are_not_hidden(tmp_path: Path) -> None:
    models.add_version(tmp_path, "v2")
    models.add_version(tmp_path, "v1")
    (tmp_path / ".cache").mkdir()
    (tmp_path / models.MODEL / ".draft").mkdir()
    (tmp_path / "README").touch()
    repository = Repository(tmp_path)
    assert (repository.models(), repository.versions(models.MODEL)) == ([models.MODEL], ["v1", "v2"])


def test_a_repository_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(HeadgateError, match="found no such folder, expected a model repository"):
        Repository(tmp_path / "nowhere")


def test_a_loaded_version_scores_rows(version: Path) -> None:
    rows = {"item": np.array([[3], [5]]), "context": np.zeros((2, models.WIDTH), np.float32)}
    assert load(version).score(rows) == pytest.approx(np.log(models.scores()[[3, 5]]))


def test_batch_limits_are_the_manifests(tmp_path: Path) -> None:
    folder = models.add_version(tmp_path, "v1", batch={"max": 4, "wait_ms": 1.5})
    batch = load(folder).manifest.batch
    assert (batch.max, batch.wait_ms) == (4, 1.5)


def test_a_profile_is_read_with_its_version(version: Path) -> None:
    profile = Profile(
        model=models.MODEL,
        version="v1",
        ts=1_700_000_000_000,
        features={"age": Distribution(counts=[1, 2], edges=[30.0])},
    )
    (version / "profile.json").write_bytes(ENCODER.encode(profile))
    assert Repository(version.parent.parent).open(models.MODEL, "v1").profile == profile


@pytest.mark.parametrize("name", ["", ".", "..", "../ranker", "v1/../v1", "\0", "v\0x", "v" * 300])
def test_a_name_that_no_folder_can_have_is_nowhere(version: Path, name: str) -> None:
    repository = Repository(version.parent.parent)
    with pytest.raises(HeadgateError, match="found no such folder"):
        repository.open(models.MODEL, name)
    assert repository.fingerprint(models.MODEL, name) == ()
    assert repository.fingerprint(name, "v1") == ()
    assert repository.versions(name) == []
    assert name not in repository


def test_a_missing_version_is_told_with_those_that_there_are(version: Path) -> None:
    with pytest.raises(HeadgateError, match=r"expected version v9 of ranker \(there are: v1\)"):
        Repository(version.parent.parent).open(models.MODEL, "v9")


def edited(old: str, new: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        text = (folder / "model.toml").read_text()
        assert old in text
        (folder / "model.toml").write_text(text.replace(old, new, 1))

    return edit


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def holding(name: str, content: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return write


def fixed_rows(folder: Path) -> None:
    model = onnx.load(str(folder / "model.onnx"))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save_model(model, str(folder / "model.onnx"))


def empty_table(folder: Path) -> None:
    model = onnx.load(str(folder / "model.onnx"))
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.zeros(0, np.float32), "table"))
    onnx.save_model(model, str(folder / "model.onnx"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without("model.toml"), r"model\.toml: No such file.*expected the version's manifest"),
        (without("model.onnx"), r"model\.onnx: found no such file"),
        (edited('name = "ranker"', "name = ranker"), r"model\.toml:2: not TOML"),
        (edited('name = "ranker"', 'name = "other"'), r"model\.toml:2: .*found 'other', expected 'ranker'"),
        (edited('version = "v1"', 'version = "v2"'), r"model\.toml:3: .*found 'v2', expected 'v1'"),
        (
            edited('version = "v1"', "version = 1"),
            r"model\.toml:3: model\.version: Expected `str`, got `int`",
        ),
        (edited('version = "v1"', ""), r"model\.toml:1: .*missing required field `version`"),
        (edited('"int64"', '"int65"'), r"model\.toml:6: inputs\.item\.dtype: Invalid enum value 'int65'"),
        (edited('"int64"', '"int32"'), r"model\.toml:6: inputs\.item\.dtype: found int32, expected int64"),
        (edited("[-1, 1]", "[-1, 2]"), r"model\.toml:7: inputs\.item\.shape: found \[-1, 2\], expected"),
        (edited("[-1, 1]", "[8, 1]"), r"model\.toml:7: .*found first dimension 8, expected -1"),
        (edited("[-1, 1]", "[-1, -1]"), r"model\.toml:7: .*expected whole numbers above 0"),
        (edited("[inputs.item]", "[inputs.film]"), r"model\.toml:\d+: inputs: found no 'item', expected one"),
        (
            edited("[output]", "[inputs.x]\ndtype='bool'\nshape=[-1]\n[output]"),
            r":13: inputs\.x: found in the",
        ),
        (
            edited('"score"', '"logits"'),
            r"model\.toml:14: output\.name: found 'logits', expected one of.*score",
        ),
        (edited("[batch]", "[batch]\nmax = 0"), r"model\.toml:17: batch\.max: Expected `int` >= 1"),
        (edited("[batch]", "[batch]\nmax = 5000"), r"model\.toml:17: batch\.max: Expected `int` <= 4096"),
        (edited("[batch]", "[batch]\nwait = 1"), r"model\.toml:16: .*unknown field `wait`"),
        (holding("model.toml", b"\xff"), r"model\.toml:1: not TOML"),
        (holding("model.toml", b"x = " + b"[" * 9_000), r"model\.toml:1: not TOML"),
        (holding("model.onnx", b"not a model"), r"model\.onnx: .*expected an ONNX model"),
        (holding("profile.json", b"{"), r"profile\.json: .*expected a reference profile"),
        (fixed_rows, r"model\.onnx: input item: found shape \[1, 1\], expected a free first dimension"),
        (empty_table, r"model\.onnx: fails on rows of zeros"),
    ],
)
def test_a_broken_version_is_one_line_that_says_where_and_what(
    version: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(version)
    with pytest.raises(HeadgateError, match=message) as caught:
        load(version)
    assert "\n" not in str(caught.value)
    assert str(version) in str(caught.value)


def test_the_profile_must_be_that_of_its_version(version: Path) -> None:
    profile = Profile(model=models.MODEL, version="v2", ts=1_700_000_000_000, features={})
    (version / "profile.json").write_bytes(ENCODER.encode(profile))
    with pytest.raises(HeadgateError, match="found that of ranker/v2, expected that of ranker/v1"):
        load(version)


def test_a_profile_needs_a_count_for_each_bin(version: Path) -> None:
    ages = Distribution(counts=[1, 2, 3], edges=[30.0])
    profile = Profile(model=models.MODEL, version="v1", ts=1_700_000_000_000, features={"age": ages})
    (version / "profile.json").write_bytes(ENCODER.encode(profile))
    with pytest.raises(HeadgateError, match="age: found 3 counts, expected 2"):
        load(version)


def test_the_fingerprint_changes_with_the_files(version: Path) -> None:
    repository = Repository(version.parent.parent)
    before = repository.fingerprint(models.MODEL, "v1")
    (version / "profile.json").write_text("{}")
    assert repository.fingerprint(models.MODEL, "v1") != before


def test_a_version_that_is_not_there_has_an_empty_fingerprint(version: Path) -> None:
    assert Repository(version.parent.parent).fingerprint(models.MODEL, "v9") == ()
