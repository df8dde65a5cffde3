"""What the machine's GPUs are doing, by NVML. Without NVIDIA's driver, or `nvidia-ml-py` (the extra `gpu`),
there are none."""

from typing import Any, NamedTuple

try:
    import pynvml
except ImportError:
    pynvml = None


class Gpu(NamedTuple):
    """A GPU as it is now: its number in NVML's order, the share of the last second or less in which a kernel
    ran (0 to 1), and bytes of its memory that are taken, by whomever, and that it has."""

    number: int
    utilization: float
    memory: int
    memory_total: int


class Gpus:
    """All GPUs that this process can see. `nvml` is NVIDIA's module, or None."""

    def __init__(self, nvml: Any = pynvml) -> None:
        self._nvml = nvml
        self._handles: list[Any] = []
        if nvml is None:
            return
        try:
            nvml.nvmlInit()
            self._handles = [nvml.nvmlDeviceGetHandleByIndex(n) for n in range(nvml.nvmlDeviceGetCount())]
        except nvml.NVMLError:  # no driver: a machine with a CPU only
            self._handles = []

    def read(self) -> list[Gpu]:
        """Each GPU that answers: one that fell off the bus does not."""
        found = []
        for number, handle in enumerate(self._handles):
            try:
                use = self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100
                memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
            except self._nvml.NVMLError:
                continue
            found.append(Gpu(number, use, int(memory.used), int(memory.total)))
        return found
