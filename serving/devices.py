"""What versions run on: processors and GPUs, the execution providers of ONNX Runtime that reach them, and
their options, all in this one place. No session is made here.

Names and options: https://onnxruntime.ai/docs/execution-providers/.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from schemas.errors import HeadgateError
from schemas.settings import Serving

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"

Provider = tuple[str, dict[str, str]]
"""A provider's name and options, as ONNX Runtime takes them."""

BUCKETS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
"""Rows that batches are padded to where a provider compiles for each shape."""


class Device(NamedTuple):
    """One place to compute. `name`: as ONNX Runtime's tensors call it; `number`: which of its kind."""

    kind: Literal["cpu", "cuda", "tensorrt"]
    number: int = 0

    @property
    def name(self) -> Literal["cpu", "cuda"]:
        return "cpu" if self.kind == "cpu" else "cuda"

    @property
    def provider(self) -> str:
        """The provider that is to do the work; others do what it cannot."""
        return {"cpu": CPU, "cuda": CUDA, "tensorrt": TENSORRT}[self.kind]

    @property
    def buckets(self) -> Sequence[int]:
        """The numbers of rows that it runs; none: any."""
        return BUCKETS if self.kind == "tensorrt" else ()


class Execution(NamedTuple):
    """How a worker runs all its versions. `devices`: a session on each, between which the rows of a batch are
    divided. `threads`: of the CPU, for each session. `precision`: what TensorRT computes in. `engines`: the
    folder of its compiled engines.
    """

    devices: tuple[Device, ...] = (Device("cpu"),)
    threads: int = 1
    precision: Literal["fp32", "fp16"] = "fp32"
    engines: Path = Path()

    @property
    def single_threaded(self) -> bool:
        """Whether sessions run in the thread that asks them to, and make none of their own."""
        return self.threads == 1 and all(device.kind == "cpu" for device in self.devices)


def gpus(folder: Path = Path("/dev")) -> list[int]:
    """The numbers of NVIDIA's GPUs that this machine has, as its drivers show them."""
    return sorted(int(file.name[6:]) for file in folder.glob("nvidia[0-9]*") if file.name[6:].isdecimal())


def execution(settings: Serving, threads: int, available: Sequence[str], present: Sequence[int]) -> Execution:
    """What `settings` ask for, where ONNX Runtime was built with the providers `available` and GPUs `present`
    were found.

    `auto` is CUDA where there are both, else the CPU. Raises `HeadgateError` where ONNX Runtime was not built
    with what is asked for.
    """
    kind = settings.device
    if kind == "auto":
        kind = "cuda" if CUDA in available and present else "cpu"
    numbers = settings.gpus if kind != "cpu" else (0,)
    devices = tuple(Device(kind, number) for number in numbers for _ in range(settings.sessions))
    if devices[0].provider not in available:
        raise HeadgateError(
            f"device under [serving]: found {kind!r}, but this ONNX Runtime has {', '.join(available)} only; "
            "install the extra gpu in place of cpu (pip install 'headgate[gpu]'), or say 'cpu'"
        )
    return Execution(devices, threads, settings.precision, Path(settings.engines).expanduser())


def providers(device: Device, how: Execution, engines: Path) -> list[Provider]:
    """Those of a session on `device`, best first; `engines`: the folder of this version's engines."""
    cuda = {
        "device_id": str(device.number),
        # Memory as it is asked for: doubling would take what other versions need.
        "arena_extend_strategy": "kSameAsRequested",
        # The default tries every algorithm out at each new shape.
        "cudnn_conv_algo_search": "HEURISTIC",
    }
    tensorrt = {
        "device_id": str(device.number),
        "trt_fp16_enable": "1" if how.precision == "fp16" else "0",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(engines),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(engines),
    }
    chains = {"cpu": [], "cuda": [(CUDA, cuda)], "tensorrt": [(TENSORRT, tensorrt), (CUDA, cuda)]}
    return [*chains[device.kind], (CPU, {})]


def engines_of(how: Execution, model: str, version: str, sha256: str) -> Path:
    """The folder for a version's engines. By the file's sum too: TensorRT's own names for engines speak of
    the graph, not of its weights.
    """
    return how.engines / model / f"{version}-{sha256[:16]}"
