"""Puts an ONNX file into a model repository as a version: folder, manifest, checksum. Whole or not at all: a
worker that looks in meanwhile sees no half of it.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from schemas.errors import HeadgateError
from serving import conversion, runtime
from serving.repository import LONGEST, Batch, Package, Repository, checksum, is_name
from serving.signature import Tensor


def add(
    repository: Repository,
    onnx: Path,
    model: str,
    version: str,
    *,
    output: str | None = None,
    batch: Batch | None = None,
    profile: Path | None = None,
    notes: Mapping[str, str] | None = None,
) -> Package:
    """Copies `onnx` (and `profile`) to `<model>/<version>/` with a manifest that follows from the ONNX file;
    `output` names the scores where there are several outputs, `notes` go into `[model]`. Weights that lie in
    other files are put into the one.

    The version is loaded and run on rows of zeros before it stands there. Raises `HeadgateError` where that
    fails, or the version is there already: versions are not replaced, for somebody may serve them.
    """
    for name in (model, version):
        if name.startswith(".") or not is_name(name):
            raise HeadgateError(
                f"found {name!r}, expected a name that a folder can have: at most {LONGEST} bytes, no /, "
                "no dot at its beginning"
            )
    target = repository.root / model / version
    if target.exists():
        raise HeadgateError(f"{target}: found a version of that name, expected a new one")
    inputs, outputs = runtime.tensors(onnx)
    scores = _scores(onnx, outputs, output)
    draft = Path(tempfile.mkdtemp(prefix=".adding-", dir=repository.root))
    try:
        folder = draft / model / version
        folder.mkdir(parents=True)
        conversion.copy_whole(onnx, folder / "model.onnx")
        about = {
            "name": model,
            "version": version,
            "sha256": checksum(folder / "model.onnx"),
            **(notes or {}),
        }
        text = "\n".join(_manifest(about, onnx, inputs, scores, batch or Batch()))
        (folder / "model.toml").write_text(text, encoding="utf-8")
        if profile is not None:
            shutil.copyfile(profile, folder / "profile.json")
        runtime.load(Repository(draft).open(model, version))
        target.parent.mkdir(exist_ok=True)
        folder.rename(target)
    except HeadgateError as error:  # the draft is gone when this is read
        raise HeadgateError(str(error).replace(str(draft), str(repository.root))) from error
    except OSError as error:
        place = str(error.filename).replace(str(draft), str(repository.root))
        raise HeadgateError(
            f"{place}: {error.strerror}; expected files to copy, and a folder of models to write to"
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return repository.open(model, version)


def _scores(onnx: Path, outputs: Sequence[Tensor], wanted: str | None) -> Tensor:
    names = ", ".join(tensor.name for tensor in outputs)
    if wanted is None and len(outputs) > 1:
        raise HeadgateError(
            f"{onnx}: found the outputs {names}, expected one; name that of the scores (--output)"
        )
    found = next((tensor for tensor in outputs if wanted in (None, tensor.name)), None)
    if found is None:
        raise HeadgateError(f"{onnx}: found the outputs {names}, expected {wanted} among them")
    return found


def _manifest(
    about: Mapping[str, str], onnx: Path, inputs: Sequence[Tensor], scores: Tensor, batch: Batch
) -> Iterator[str]:
    yield "[model]"
    yield from (
        f"{key if key.isidentifier() else _quoted(key)} = {_quoted(text)}" for key, text in about.items()
    )
    for tensor in inputs:
        _, *row = tensor.shape or [None]
        if not all(isinstance(size, int) for size in row):
            raise HeadgateError(
                f"{onnx}: input {tensor.name}: found shape {list(tensor.shape)}, expected fixed sizes after "
                "the first dimension, which is the rows of a batch"
            )
        yield from ("", f"[inputs.{_quoted(tensor.name)}]", f'dtype = "{tensor.dtype}"')
        yield f"shape = {[-1, *row]}"
    yield from ("", "[output]", f"name = {_quoted(scores.name)}")
    yield from ("", "[batch]", f"max = {batch.max}", f"wait_ms = {batch.wait_ms:g}", "")


def _quoted(text: str) -> str:
    """A TOML string. JSON's escapes are TOML's, but for what it would write as two halves."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")
