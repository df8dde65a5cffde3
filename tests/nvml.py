"""NVIDIA's module for machines that have no GPU: what `serving.gpu` asks of it, and nothing else."""

from typing import NamedTuple


class Rates(NamedTuple):
    gpu: int


class Memory(NamedTuple):
    used: int
    total: int


class Nvml:
    """NVIDIA's module as `pynvml` has it, on a machine with `count` GPUs, of which one is `lost`; no machine
    of ours has one."""

    class NVMLError(Exception):
        """What it raises."""

    def __init__(self, count: int = 1, lost: int | None = None) -> None:
        self._count = count
        self._lost = lost

    def nvmlInit(self) -> None:  # noqa: N802
        if not self._count:
            raise self.NVMLError("NVML Shared Library Not Found")

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return self._count

    def nvmlDeviceGetHandleByIndex(self, number: int) -> int:  # noqa: N802
        return number

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Rates:  # noqa: N802
        if handle == self._lost:
            raise self.NVMLError("GPU is lost")
        return Rates(75)

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Memory:  # noqa: N802
        return Memory(used=(3 + handle) << 30, total=16 << 30)
