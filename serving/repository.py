"""The model repository: which versions lie in a folder, and what each says of itself. Nothing here runs a
model.

`DIR/<model>/<version>/model.onnx`, `model.toml` (the manifest) and, where there is one, `profile.json` (a
`schemas.records.Profile`). Whether manifest and ONNX file agree is `signature.py`'s question.
"""

import hashlib
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta

from schemas.errors import HeadgateError
from schemas.records import Profile
from serving.flight import MOST
from serving.pace import PIECE, Rest, restless

Dtype = Literal[
    "float16", "float32", "float64",
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool",
]  # fmt: skip


LONGEST = 255
"""Bytes of a name of a model or a version: what file systems take."""

MOST_DIMENSIONS = 8
"""Of an input, the rows included."""


class About(msgspec.Struct, frozen=True, omit_defaults=True):
    """`[model]`: must repeat the names of its folders; other keys are the author's own. `sha256`: of
    `model.onnx`, in hexadecimal digits; a file of another is not served.
    """

    name: str
    version: str
    sha256: str | None = None


class Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[inputs.<name>]`. The first dimension is the rows of a batch, -1 or a name; the others are fixed."""

    dtype: Dtype
    shape: Annotated[list[int | str], Meta(min_length=1, max_length=MOST_DIMENSIONS)]

    @property
    def row(self) -> tuple[int, ...]:
        """The shape of one row."""
        return tuple(int(size) for size in self.shape[1:])


class Output(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[output]`: the tensor with one score a row, [rows] or [rows, 1]."""

    name: str
    dtype: Dtype | None = None
    shape: list[int | str] | None = None


class Batch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[batch]`: at most `max` requests run together; the first waits at most `wait_ms` for the others."""

    max: Annotated[int, Meta(ge=1, le=MOST)] = 32
    wait_ms: Annotated[float, Meta(ge=0, le=1000)] = 5.0


class Manifest(msgspec.Struct, frozen=True):
    """All of a `model.toml`."""

    model: About
    inputs: dict[str, Input]
    output: Output
    batch: Batch = Batch()


class Package(NamedTuple):
    """A version as it lies in the repository: read and in itself sound, not loaded."""

    model: str
    version: str
    folder: Path
    manifest: Manifest
    profile: Profile | None

    @property
    def onnx(self) -> Path:
        return self.folder / "model.onnx"

    @property
    def toml(self) -> Path:
        return self.folder / "model.toml"


Fingerprint = tuple[tuple[str, int, int], ...]
"""Name, time of change (ns) and size of each file of a version; empty where there is none."""


def size_of(files: Fingerprint) -> int:
    """Their bytes together."""
    return sum(size for _, _, size in files)


class Repository:
    """A folder of models. It is read anew at each question: versions come and go while a worker runs."""

    def __init__(self, root: Path) -> None:
        """Raises `HeadgateError` where `root` is no folder."""
        if not root.is_dir():
            raise HeadgateError(
                f"{root}: found no such folder, expected a model repository (<model>/<version>/model.onnx)"
            )
        self.root = root

    def __contains__(self, model: str) -> bool:
        return is_name(model) and _is_folder(self.root / model)

    def models(self) -> list[str]:
        """The models there are, by name."""
        return _folders(self.root)

    def versions(self, model: str) -> list[str]:
        """The versions of `model`, sound or not, by name."""
        return _folders(self.root / model) if is_name(model) else []

    def fingerprint(self, model: str, version: str) -> Fingerprint:
        """Changes when a file of the version changes, comes or goes."""
        if not (is_name(model) and is_name(version)):
            return ()
        folder = self.root / model / version
        try:
            found = [(file.name, file.stat()) for file in sorted(folder.iterdir())]
        except OSError:
            return ()
        return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in found)

    def open(self, model: str, version: str) -> Package:
        """Reads a version's manifest and profile.

        Raises `HeadgateError` that names the file (and line), what was found there and what was expected.
        """
        folder = self.root / model / version
        if not (is_name(model) and is_name(version) and _is_folder(folder)):
            known = ", ".join(self.versions(model)) or "none"
            raise HeadgateError(
                f"{folder}: found no such folder, expected version {version} of {model} (there are: {known})"
            )
        if not (folder / "model.onnx").is_file():
            raise HeadgateError(
                f"{folder / 'model.onnx'}: found no such file, expected the model in ONNX format"
            )
        manifest = _manifest(folder / "model.toml")
        _check_names(folder / "model.toml", manifest, model, version)
        return Package(model, version, folder, manifest, _profile(folder / "profile.json", model, version))


def checksum(file: Path, rest: Rest = restless) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal digits; `rest` is called between pieces."""
    found, piece = hashlib.sha256(), bytearray(PIECE)
    with file.open("rb", buffering=0) as opened:
        while count := opened.readinto(piece):
            found.update(memoryview(piece)[:count])
            rest()
    return found.hexdigest()


def is_name(text: str) -> bool:
    """Whether a folder of the repository can be called so. Names come from records too: they must not lead
    out of it, nor be longer than a file system takes."""
    return (
        text not in ("", ".", "..")
        and "/" not in text
        and "\0" not in text
        and len(text.encode(errors="replace")) <= LONGEST
    )


def _folders(root: Path) -> list[str]:
    try:
        found = [path for path in root.iterdir() if not path.name.startswith(".")]
    except OSError:
        return []
    return sorted(path.name for path in found if _is_folder(path))


def _is_folder(path: Path) -> bool:
    """Whether there is one. `Path.is_dir` raises where that cannot be told, as of a disk that is away."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _manifest(file: Path) -> Manifest:
    try:
        text = file.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except OSError as error:
        raise HeadgateError(
            f"{file}: {error.strerror}, expected the version's manifest (see serving/README.md)"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        line = re.search(r"at line (\d+)", str(error))
        raise HeadgateError(f"{file}:{line[1] if line else 1}: not TOML: {error}") from error
    place: list[str] = []
    try:
        manifest = msgspec.convert({**table, "inputs": {}}, Manifest)
        place = ["inputs"]
        inputs = msgspec.convert(table.get("inputs"), dict[str, object])
        for name, value in inputs.items():
            place = ["inputs", name]
            manifest.inputs[name] = msgspec.convert(value, Input)
            _check_shape(file, text, name, manifest.inputs[name].shape)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        path = [*place, *re.findall(r"\w+", where)]
        key = ".".join(path) or "the file"
        raise HeadgateError(f"{file}:{line_of(text, path)}: {key}: {what}") from error
    return manifest


def _check_shape(file: Path, text: str, name: str, shape: Sequence[int | str]) -> None:
    rows, *row = shape
    if rows != -1 and not isinstance(rows, str):
        _refuse(file, text, name, f"first dimension {rows}", "-1 (the rows of a batch)")
    if not all(isinstance(size, int) and size > 0 for size in row):
        _refuse(file, text, name, f"{row} after the first dimension", "whole numbers above 0")


def _refuse(file: Path, text: str, name: str, found: str, expected: str) -> None:
    line = line_of(text, ["inputs", name, "shape"])
    raise HeadgateError(f"{file}:{line}: inputs.{name}.shape: found {found}, expected {expected}")


def _check_names(file: Path, manifest: Manifest, model: str, version: str) -> None:
    text = file.read_text(encoding="utf-8")
    for key, found, expected in (
        ("name", manifest.model.name, model),
        ("version", manifest.model.version, version),
    ):
        if found != expected:
            raise HeadgateError(
                f"{file}:{line_of(text, ['model', key])}: model.{key}: found {found!r}, "
                f"expected {expected!r} as its folder is called"
            )


def _profile(file: Path, model: str, version: str) -> Profile | None:
    try:
        profile = msgspec.json.decode(file.read_bytes(), type=Profile)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise HeadgateError(f"{file}: {error}, expected a reference profile") from error
    if (profile.model, profile.version) != (model, version):
        raise HeadgateError(
            f"{file}: found that of {profile.model}/{profile.version}, expected that of {model}/{version}"
        )
    for name, distribution in [
        *profile.features.items(),
        *([("score", profile.score)] if profile.score else []),
    ]:
        bins = (
            len(distribution.edges if distribution.edges is not None else distribution.categories or ()) + 1
        )
        if len(distribution.counts) != bins:
            raise HeadgateError(
                f"{file}: {name}: found {len(distribution.counts)} counts, expected {bins}, one a bin"
            )
    return profile


def line_of(text: str, path: Sequence[str]) -> int:
    """The line (from 1) of a TOML text that holds the longest part of `path` (table names, then a key) that
    it has."""
    here: list[str] = []
    best, depth = 1, 0
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[([^\[\]]+)\]", line)
        key = re.match(r"\s*([\w.\-\"' ]+?)\s*=", line)
        if header:
            here = _parts(header[1])
        if not (header or key):
            continue
        place = here if header else [*here, *_parts(key[1] if key else "")]
        if len(place) > depth and place == list(path[: len(place)]):
            best, depth = number, len(place)
    return best


def _parts(dotted: str) -> list[str]:
    return [part.strip().strip("\"'") for part in dotted.split(".")]
