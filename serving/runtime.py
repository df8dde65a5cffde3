"""One version in memory: ONNX Runtime sessions that answer rows with scores. Beside `conversion.py` the only
importer of ONNX Runtime.

The same code on the CPU and on GPUs (`devices.py`). Inputs and outputs are bound, not copied through Python
objects; where a provider compiles for each shape, batches are padded to few sizes, whose buffers stay on the
device. Not thread-safe: one thread loads and warms a version, then one other thread runs it.
"""

import contextlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from schemas.errors import HeadgateError
from serving import signature, weights
from serving.devices import CPU, CUDA, TENSORRT, Device, Execution, Provider, engines_of
from serving.devices import providers as provider_chain
from serving.pace import Rest, restless
from serving.repository import Manifest, Package
from serving.signature import Tensor
from serving.sums import Sums, identity

Arrays = Mapping[str, npt.NDArray[Any]]
"""ONNX input name → [rows, …], C-contiguous, of the manifest's types."""

Scores = npt.NDArray[np.floating]
"""[rows]."""

MOST_ROWS = 4096
"""Rows of one run; more run in turns, so that memory has a bound however many candidates come together."""

FEWEST_ROWS = 64
"""Rows for which a second session is worth its thread."""

WARM_ROWS = (1, 64, 512)
"""Rows of the batches that a version is warmed up with where nothing compiles for shapes: first runs
allocate. More would gain nothing that can be measured on the CPU, and take time from what serves."""

FATAL = 4
"""ONNX Runtime's log severity: what fails is an exception here, and need not be in its log as well."""


def available() -> list[str]:
    """The providers that this machine's ONNX Runtime was built with."""
    return list(ort.get_available_providers())


def providers() -> list[str]:
    """Those of them that we use, best first."""
    return [name for name in (TENSORRT, CUDA, CPU) if name in available()]


class Lane(Protocol):
    """A session on a device. `providers`: what it really runs on, best first."""

    providers: Sequence[str]

    def score(self, inputs: Arrays, rows: int) -> npt.NDArray[np.floating]:
        """The output for the first `rows` rows, at most `MOST_ROWS`, in the output's own shape."""
        ...


class FreeLane:
    """Runs any number of rows: inputs are bound where they lie (and copied to the GPU from there), the output
    is allocated by ONNX Runtime. `memory`: what the session reads from, and must not outlive."""

    def __init__(self, session: ort.InferenceSession, output: str, memory: object = None) -> None:
        self.providers: Sequence[str] = session.get_providers()
        self._session = session
        self._binding = session.io_binding()
        self._output = output
        self._memory = memory

    def score(self, inputs: Arrays, rows: int) -> npt.NDArray[np.floating]:
        for name, array in inputs.items():
            self._binding.bind_cpu_input(name, array)
        self._binding.bind_output(self._output)
        self._session.run_with_iobinding(self._binding)
        scores: npt.NDArray[np.floating] = self._binding.copy_outputs_to_cpu()[0]
        return scores


class Bucket:
    """Buffers for runs of exactly `rows` rows: inputs and output on `device`, allocated and bound once."""

    def __init__(
        self, session: ort.InferenceSession, manifest: Manifest, output: Tensor, rows: int, device: Device
    ) -> None:
        place = (device.name, device.number)
        self._session = session
        self._binding = session.io_binding()
        self._staging = {
            name: np.zeros((rows, *tensor.row), tensor.dtype) for name, tensor in manifest.inputs.items()
        }
        self._inputs = {
            name: ort.OrtValue.ortvalue_from_numpy(array.copy(), *place)
            for name, array in self._staging.items()
        }
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        shape = [rows] + [1] * (len(output.shape) - 1)
        self._output = ort.OrtValue.ortvalue_from_shape_and_type(shape, np.dtype(output.dtype).type, *place)
        self._binding.bind_ortvalue_output(output.name, self._output)

    def score(self, inputs: Arrays, rows: int) -> npt.NDArray[np.floating]:
        """The output of the first `rows` rows; those that fill up are zeros, or an earlier batch's."""
        for name, array in inputs.items():
            self._staging[name][:rows] = array
            self._inputs[name].update_inplace(self._staging[name])
        self._session.run_with_iobinding(self._binding)
        # On the CPU this is the buffer itself, which the next run writes to.
        scores: npt.NDArray[np.floating] = self._output.numpy()[:rows].copy()
        return scores


class BucketLane:
    """Runs batches of few sizes: rows are filled up to the next of `buckets`, the last of which is at least
    `MOST_ROWS`."""

    def __init__(
        self,
        session: ort.InferenceSession,
        manifest: Manifest,
        output: Tensor,
        device: Device,
        buckets: Sequence[int],
    ) -> None:
        self.providers: Sequence[str] = session.get_providers()
        self._buckets = {rows: Bucket(session, manifest, output, rows, device) for rows in sorted(buckets)}

    def score(self, inputs: Arrays, rows: int) -> npt.NDArray[np.floating]:
        return self._buckets[next(size for size in self._buckets if size >= rows)].score(inputs, rows)


class Runtime:
    """A loaded version. `score` takes the rows of any number of requests: rows must not influence each
    other. `lanes`: the sessions between which rows are divided."""

    def __init__(self, package: Package, lanes: Sequence[Lane]) -> None:
        self.package = package
        self._lanes = lanes
        # A thread a lane: of one lane nothing runs at the same time.
        self._helpers = [ThreadPoolExecutor(1, "lane") for _ in lanes] if len(lanes) > 1 else []

    @property
    def model(self) -> str:
        return self.package.model

    @property
    def version(self) -> str:
        return self.package.version

    @property
    def manifest(self) -> Manifest:
        return self.package.manifest

    @property
    def providers(self) -> list[str]:
        """What it really runs on, best first."""
        return list(self._lanes[0].providers)

    def score(self, inputs: Arrays) -> Scores:
        """Scores [rows] of `inputs`.

        Raises whatever ONNX Runtime raises (an index out of range, out of memory), and `ValueError` for an
        output that is not one score a row.
        """
        rows = len(next(iter(inputs.values())))
        share = rows if rows < len(self._lanes) * FEWEST_ROWS else -(-rows // len(self._lanes))
        spans = range(0, rows, max(1, min(share, MOST_ROWS)))
        if len(spans) <= 1:
            return self._part(0, inputs, rows)
        parts = [{name: a[first : first + spans.step] for name, a in inputs.items()} for first in spans]
        lanes = [number % len(self._lanes) for number in range(len(parts))]
        counts = [min(spans.step, rows - first) for first in spans]
        if not self._helpers:
            return np.concatenate([self._part(*one) for one in zip(lanes, parts, counts, strict=True)])
        turns = [
            self._helpers[lane].submit(self._part, lane, part, count)
            for lane, part, count in zip(lanes, parts, counts, strict=True)
        ]
        wait(turns)  # where one fails, none runs on into the next batch
        return np.concatenate([turn.result() for turn in turns])

    def _part(self, lane: int, inputs: Arrays, rows: int) -> Scores:
        output = self._lanes[lane].score(inputs, rows)
        if output.size != rows:
            name = self.manifest.output.name
            raise ValueError(
                f"output {name}: found shape {list(output.shape)}, expected one score a row, [{rows}]"
            )
        return output.reshape(rows)

    def warm_up(self, sizes: Sequence[int] = WARM_ROWS, rest: Rest = restless) -> None:
        """Runs zeros in batches of `sizes` rows, on every lane."""
        for rows in sizes:
            rest()
            zeros = {
                name: np.zeros((rows, *tensor.row), tensor.dtype)
                for name, tensor in self.manifest.inputs.items()
            }
            for lane in range(len(self._lanes)):
                self._part(lane, zeros, rows)


def tensors(onnx: Path) -> tuple[list[Tensor], list[Tensor]]:
    """The inputs and outputs that an ONNX file declares. Raises `HeadgateError` where it is none."""
    return _declared(Source(onnx, Device("cpu")).session([(CPU, {})], threads=1))


FOLDER = "session.model_external_initializers_file_folder_path"
"""Option of a session: where weights are that its graph calls external. Of those that it is given it only
looks whether they could be there."""

DEFAULT = Execution()
"""One thread of the CPU."""


def load(
    package: Package, how: Execution = DEFAULT, sums: Sums | None = None, rest: Rest = restless
) -> Runtime:
    """Loads a version, checks it against its manifest and warms it up. `sums` may know its file's already;
    `rest` is called between parts of the work.

    Raises `HeadgateError` where the file is not the one that the manifest's checksum speaks of, is no ONNX
    model, does not agree with the manifest, changes meanwhile, or fails on rows of zeros.
    """
    sums = sums or Sums()
    before = identity(package.onnx)
    sums.check(package, rest)
    source = Source(package.onnx, how.devices[0], rest)
    lanes = [_lane(package, source, device, how, sums) for device in how.devices]
    runtime = Runtime(package, lanes)
    after = identity(package.onnx)
    if (after.size, after.written) != (before.size, before.written):  # which of the two is in memory?
        raise HeadgateError(
            f"{package.onnx}: found another file after loading it than before, expected one that stays; "
            "it is loaded again as it is now"
        )
    try:
        runtime.warm_up(_warm_sizes(how.devices[0]), rest)
    except Exception as error:
        raise HeadgateError(f"{package.onnx}: fails on rows of zeros: {_one_line(error)}") from error
    return runtime


def _lane(package: Package, source: "Source", device: Device, how: Execution, sums: Sums) -> Lane:
    if device.provider not in available():
        raise _unusable(package, device, available())
    session = source.session(_chain(package, device, how, sums), how.threads)
    if device.provider not in session.get_providers():
        raise _unusable(package, device, session.get_providers())
    inputs, outputs = _declared(session)
    signature.check(package, inputs, outputs)
    name = package.manifest.output.name
    if not device.buckets:
        return FreeLane(session, name, source.tables)
    output = next(tensor for tensor in outputs if tensor.name == name)
    return BucketLane(session, package.manifest, output, device, device.buckets)


def _unusable(package: Package, device: Device, found: Sequence[str]) -> HeadgateError:
    return HeadgateError(
        f"{package.onnx}: {device.provider} could not be used on device {device.number}, only "
        f"{', '.join(found)}; are its libraries and drivers there?"
    )


def _chain(package: Package, device: Device, how: Execution, sums: Sums) -> list[Provider]:
    engines = Path()
    if device.kind == "tensorrt":
        engines = engines_of(how, package.model, package.version, sums.of(package.onnx))
        engines.mkdir(parents=True, exist_ok=True)
    return provider_chain(device, how, engines)


def _warm_sizes(device: Device) -> Sequence[int]:
    """Of buckets the smallest and the largest come first: TensorRT builds an engine for the range of rows
    that it has seen, and builds it again when a batch is outside of it. A GPU's memory is allocated once for
    the largest run."""
    if device.name == "cpu":
        return WARM_ROWS
    smallest, *between, largest = device.buckets or (*WARM_ROWS, MOST_ROWS)
    return (smallest, largest, *between)


class Source:
    """An ONNX file from which sessions for a `device` are made. `tables`: what the last one reads from, and
    must not outlive; those of the CPU have them in common. `rest` is called between pieces of reading."""

    def __init__(self, onnx: Path, device: Device, rest: Rest = restless) -> None:
        self._onnx = onnx
        self._graph: bytes | None = None
        self.tables: dict[str, ort.OrtValue] = {}
        self._others: dict[str, ort.OrtValue] = {}
        if device.kind == "cpu":
            with contextlib.suppress(OSError, EOFError):  # what is wrong is better said of the whole
                self._take_apart(rest)

    def session(self, chain: Sequence[Provider], threads: int) -> ort.InferenceSession:
        """One more. Raises `HeadgateError` where the file is no ONNX model."""
        if len(chain) > 1:
            ort.preload_dlls()  # of CUDA and cuDNN, where they came with pip
        if self._graph is not None:
            with contextlib.suppress(Exception):
                return self._of_parts(self._graph, chain, threads)
            self._graph, self.tables, self._others = None, {}, {}  # the whole file needs none of them
        model, options = str(self._onnx), _options(threads)
        try:
            return ort.InferenceSession(model, options, providers=list(chain), enable_fallback=0)
        except Exception as error:  # ONNX Runtime's exceptions have no common base of their own
            raise HeadgateError(f"{self._onnx}: {_one_line(error)}; expected an ONNX model") from error

    def _of_parts(self, graph: bytes, chain: Sequence[Provider], threads: int) -> ort.InferenceSession:
        options = _options(threads)
        for name, value in self.tables.items():
            options.add_initializer(name, value)
        options.add_external_initializers(list(self._others), list(self._others.values()))
        options.add_session_config_entry(FOLDER, str(self._onnx.resolve().parent))
        return ort.InferenceSession(graph, options, providers=list(chain), enable_fallback=0)

    def _take_apart(self, rest: Rest) -> None:
        parts = weights.taken_apart(self._onnx)
        if parts is None:
            return
        for name, value in weights.read(self._onnx, parts.places, rest).items():
            part = self.tables if parts.places[name].is_table else self._others
            part[name] = ort.OrtValue.ortvalue_from_numpy(value)
        self._graph = parts.graph


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = FATAL
    # Threads that spin for work take a core from the broker and the stages.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _declared(session: Any) -> tuple[list[Tensor], list[Tensor]]:
    inputs, outputs = (
        [Tensor(found.name, found.type, found.shape) for found in several]
        for several in (session.get_inputs(), session.get_outputs())
    )
    return inputs, outputs


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
