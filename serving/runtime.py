"""One version in memory: an ONNX Runtime session that answers rows with scores. The only importer of ONNX
Runtime.

CUDA where this machine's ONNX Runtime has it, the CPU elsewhere, by the same code: inputs and the output are
bound, not copied through Python objects. Not thread-safe: one thread loads and warms a version, then one
other thread runs it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from schemas.errors import HeadgateError
from serving import signature
from serving.repository import Manifest, Package, check_sum
from serving.signature import Tensor

PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
"""In order of preference."""

WARM_ROWS = (1, 8, 64, 512, 2048)
"""Rows of the batches that a version is warmed up with: first runs allocate, and choose kernels, by size."""

FATAL = 4
"""ONNX Runtime's log severity: what fails is an exception here, and need not be in its log as well."""


def providers() -> list[str]:
    """Those of `PROVIDERS` that this machine's ONNX Runtime was built with."""
    available = ort.get_available_providers()
    return [name for name in PROVIDERS if name in available]


class Runtime:
    """A loaded version. `score` takes the rows of any number of requests: rows must not influence each
    other."""

    def __init__(self, package: Package, session: Any) -> None:
        self.package = package
        self._session = session
        self._binding = session.io_binding()
        self._output = package.manifest.output.name

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
        """What it really runs on."""
        return list(self._session.get_providers())

    def score(self, inputs: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.floating]:
        """Scores [rows] of `inputs` (name → [rows, …], C-contiguous, of the manifest's types).

        Raises whatever ONNX Runtime raises (an index out of range, out of memory), and `ValueError` for an
        output that is not one score a row.
        """
        for name, array in inputs.items():
            self._binding.bind_cpu_input(name, array)
        self._binding.bind_output(self._output)
        self._session.run_with_iobinding(self._binding)
        output: npt.NDArray[np.floating] = self._binding.copy_outputs_to_cpu()[0]
        rows = len(next(iter(inputs.values())))
        if output.size != rows:
            raise ValueError(
                f"output {self._output}: found shape {list(output.shape)}, expected one score a row, [{rows}]"
            )
        return output.reshape(rows)

    def warm_up(self, sizes: Sequence[int] = WARM_ROWS) -> None:
        """Runs zeros in batches of `sizes` rows."""
        for rows in sizes:
            self.score(
                {
                    name: np.zeros((rows, *tensor.row), tensor.dtype)
                    for name, tensor in self.manifest.inputs.items()
                }
            )


def tensors(onnx: Path) -> tuple[list[Tensor], list[Tensor]]:
    """The inputs and outputs that an ONNX file declares. Raises `HeadgateError` where it is none."""
    session = _session(onnx, threads=1)
    return _declared(session)


def load(package: Package, threads: int = 1) -> Runtime:
    """Loads a version, checks it against its manifest and warms it up. `threads`: what one run may use of the
    CPU.

    Raises `HeadgateError` where the file is not the one that the manifest's checksum speaks of, is no ONNX
    model, does not agree with the manifest, or fails on rows of zeros.
    """
    check_sum(package)
    session = _session(package.onnx, threads)
    signature.check(package, *_declared(session))
    runtime = Runtime(package, session)
    try:
        runtime.warm_up()
    except Exception as error:
        raise HeadgateError(f"{package.onnx}: fails on rows of zeros: {_one_line(error)}") from error
    return runtime


def _session(onnx: Path, threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = FATAL
    # Threads that spin for work take a core from the broker and the stages.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(onnx, options, providers=providers())
    except Exception as error:  # ONNX Runtime's exceptions have no common base of their own
        raise HeadgateError(f"{onnx}: {_one_line(error)}; expected an ONNX model") from error


def _declared(session: Any) -> tuple[list[Tensor], list[Tensor]]:
    inputs, outputs = (
        [Tensor(found.name, found.type, found.shape) for found in several]
        for several in (session.get_inputs(), session.get_outputs())
    )
    return inputs, outputs


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
