"""`headgate model`: what lies in a model repository, and putting versions there."""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from infra.commands.output import print_json
from infra.commands.profile_files import requests_of
from schemas.errors import HeadgateError
from schemas.settings import Settings
from serving import publishing, runtime
from serving.conversion import AT, Loss, Precision, compare, convert
from serving.inputs import InputError, Rows, rows
from serving.repository import Batch, Input, Package, Repository
from serving.runtime import Runtime

MIB = 1 << 20
TIMED_ROWS = (1, 32, 512)
"""Rows of the runs that `check` takes the time of."""
MOST_REQUESTS = 2_000
"""So many requests are compared with."""


class Found(msgspec.Struct):
    """A version as `list` and `check` tell of it; `wrong` says what is, where something is. `run_ms`: by
    rows, what a run takes.
    """

    model: str
    version: str
    mib: float = 0.0
    inputs: dict[str, str] = {}
    batch: int = 0
    profile: bool = False
    wrong: str | None = None
    providers: list[str] = []
    load_ms: float = 0.0
    run_ms: dict[int, float] = {}


def configure(parser: argparse.ArgumentParser) -> None:
    """The four actions."""
    parser.description = (
        "A model repository: DIR/<model>/<version>/ with model.onnx, model.toml, profile.json."
    )
    actions = parser.add_subparsers(required=True, dest="action", metavar="ACTION", title="actions")
    listed = actions.add_parser("list", help="what is there, without loading it", allow_abbrev=False)
    checked = actions.add_parser("check", help="load and run what is there", allow_abbrev=False)
    added = actions.add_parser("add", help="put an ONNX file there as a version", allow_abbrev=False)
    converted = actions.add_parser(
        "quantize", help="make a version of lower precision, and measure what that costs", allow_abbrev=False
    )
    for action in (listed, checked, added, converted):
        action.add_argument("--models", type=Path, metavar="DIR", required=True, help="the folder of models")
        action.add_argument("--json", action="store_true", help="print JSON")
    for action in (listed, checked):
        action.add_argument("model", metavar="MODEL", nargs="?", help="this one only")
    checked.add_argument("version", metavar="VERSION", nargs="?", help="this one only")
    added.add_argument("onnx", type=Path, metavar="FILE", help="the model in ONNX format")
    for action in (added, converted):
        action.add_argument("model", metavar="MODEL")
        action.add_argument("version", metavar="VERSION")
    added.add_argument("--output", metavar="NAME", help="the output with the scores, where there are several")
    added.add_argument(
        "--profile", type=Path, metavar="FILE", help="its reference profile (headgate profile)"
    )
    added.add_argument(
        "--max-batch", type=_field("max"), default=Batch().max, metavar="N", help="default: %(default)s"
    )
    added.add_argument(
        "--wait-ms",
        type=_field("wait_ms"),
        default=Batch().wait_ms,
        metavar="MS",
        help="default: %(default)s",
    )
    converted.add_argument(
        "--to", type=Precision, choices=list(Precision), required=True, metavar="int8|fp16"
    )
    converted.add_argument("--name", metavar="VERSION", help="of the new version; default: VERSION-int8, …")
    converted.add_argument(
        "--requests",
        type=Path,
        metavar="FILE",
        required=True,
        help="requests to compare scores on: JSON lines as in inference.requests, or as replay takes them",
    )


def _field(name: str) -> Callable[[str], int | float]:
    """What reads a field of `[batch]` from the command line."""

    def read(text: str) -> int | float:
        try:
            batch = msgspec.convert({name: text}, Batch, strict=False)
        except msgspec.ValidationError as error:
            raise argparse.ArgumentTypeError(f"found {text!r}: {str(error).partition(' - at')[0]}") from error
        found: int | float = getattr(batch, name)
        return found

    return read


def run(arguments: argparse.Namespace, _settings: Settings) -> int:
    """Does the named action."""
    repository = Repository(arguments.models)
    if arguments.action == "add":
        return _add(repository, arguments)
    if arguments.action == "quantize":
        return _quantize(repository, arguments)
    found = [
        _look(repository, model, version, loads=arguments.action == "check")
        for model in repository.models()
        if arguments.model in (None, model)
        for version in repository.versions(model)
        if arguments.action == "list" or arguments.version in (None, version)
    ]
    if not found:
        wanted = (
            " ".join(filter(None, (arguments.model, getattr(arguments, "version", None)))) or "any version"
        )
        raise HeadgateError(f"{arguments.models}: found nothing, expected {wanted}")
    if arguments.json:
        print_json(found)
    else:
        _print(found)
    return 1 if any(one.wrong for one in found) else 0


def _look(repository: Repository, model: str, version: str, *, loads: bool) -> Found:
    found = Found(model, version)
    try:
        package = repository.open(model, version)
        found.mib = round(package.onnx.stat().st_size / MIB, 2)
        found.inputs = {name: _shape(tensor) for name, tensor in package.manifest.inputs.items()}
        found.batch = package.manifest.batch.max
        found.profile = package.profile is not None
        if loads:
            began = time.perf_counter()
            loaded = runtime.load(package)
            found.load_ms = round((time.perf_counter() - began) * 1_000, 1)
            found.providers = loaded.providers
            found.run_ms = {rows: _time(loaded, rows) for rows in TIMED_ROWS}
    except HeadgateError as error:
        found.wrong = str(error)
    return found


def _shape(tensor: Input) -> str:
    return f"{tensor.dtype} [{', '.join(map(str, tensor.shape))}]"


def _time(loaded: Runtime, rows: int) -> float:
    """The shortest of three runs, in ms."""
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        loaded.warm_up((rows,))
        taken.append(time.perf_counter() - began)
    return round(min(taken) * 1_000, 3)


def _print(found: list[Found]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("model", "version", "MiB", "inputs", "batch", "profile", "loads in", "runs in"):
        table.add_column(column, overflow="fold")
    for one in found:
        inputs = "\n".join(f"{name}: {shape}" for name, shape in one.inputs.items())
        runs = "\n".join(f"{rows} rows {taken:g} ms" for rows, taken in one.run_ms.items())
        table.add_row(
            *(one.model, one.version, f"{one.mib:g}", inputs, str(one.batch), "yes" if one.profile else "no"),
            *(f"{one.load_ms:g} ms" if one.load_ms else "-", runs or "-"),
        )
    console = Console(highlight=False, markup=False)
    console.print(table)
    for one in found:
        if one.wrong:
            console.print(f"wrong: {one.wrong}", style="red", soft_wrap=True)


def _add(repository: Repository, arguments: argparse.Namespace) -> int:
    package = publishing.add(
        repository,
        arguments.onnx,
        arguments.model,
        arguments.version,
        output=arguments.output,
        batch=Batch(arguments.max_batch, arguments.wait_ms),
        profile=arguments.profile,
    )
    if arguments.json:
        print_json(_look(repository, package.model, package.version, loads=False))
    else:
        print(
            f"{package.folder}: added; `headgate release start {package.model} {package.version}` releases it"
        )
    return 0


def _quantize(repository: Repository, arguments: argparse.Namespace) -> int:
    package = repository.open(arguments.model, arguments.version)
    name = arguments.name or f"{arguments.version}-{arguments.to}"
    original = runtime.load(package)
    requests = list(_rows(arguments.requests, package))
    with tempfile.TemporaryDirectory() as folder:
        converted = Path(folder) / "model.onnx"
        convert(package.onnx, converted, arguments.to)
        publish = partial(
            publishing.add,
            onnx=converted,
            model=package.model,
            version=name,
            output=package.manifest.output.name,
            batch=package.manifest.batch,
            notes={"converted_from": package.version, "precision": str(arguments.to)},
        )
        loss = compare(original, runtime.load(publish(Repository(Path(folder)))), requests)
        made = publish(repository)
    sizes = [one.onnx.stat().st_size / MIB for one in (package, made)]
    if arguments.json:
        print_json({"folder": str(made.folder), "mib": sizes, "loss": loss._asdict()})
    else:
        print(f"{made.folder}: {sizes[1]:.2f} MiB, before {sizes[0]:.2f}")
        print(_words(loss))
    return 0


def _rows(file: Path, package: Package) -> Iterator[Rows]:
    """Rows of the file's requests of the model. Raises `HeadgateError` where there are none."""
    found = 0
    for request in requests_of(file):
        if request.model != package.model or found >= MOST_REQUESTS:
            continue
        try:
            yield rows(request, package.manifest.inputs)
        except InputError as error:
            raise HeadgateError(f"{file}: request {request.request_id}: {error}") from error
        found += 1
    if not found:
        raise HeadgateError(
            f"{file}: found no request of {package.model}, expected some to compare scores on"
        )


def _words(loss: Loss) -> str:
    return (
        f"on {loss.requests:,} requests: scores differ by {loss.mean:.3g} on average, {loss.largest:.3g} at "
        f"most; NDCG@{AT} against the original's order {loss.ndcg:.4f}; first item the same in "
        f"{loss.same_first:.1%}; rank correlation {loss.correlation:.4f}"
    )
