"""What a worker takes of its machine, as samples; GPUs where there are any."""

import time

import pytest

from serving.gpu import Gpu, Gpus
from serving.usage import CPU, MEMORY, Usage, Used, samples
from tests.nvml import Nvml


def test_a_machine_without_nvidias_module_has_no_gpus() -> None:
    assert Gpus(None).read() == []


def test_a_machine_without_a_driver_has_no_gpus() -> None:
    assert Gpus(Nvml(0)).read() == []


def test_gpus_are_read_each_by_itself_and_one_that_is_lost_is_left_out() -> None:
    assert Gpus(Nvml(3, lost=1)).read() == [Gpu(0, 0.75, 3 << 30, 16 << 30), Gpu(2, 0.75, 5 << 30, 16 << 30)]


def test_cpu_is_what_was_used_since_the_last_reading_in_cores() -> None:
    usage = Usage(Gpus(None))
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass
    first = {used.name: used.value for used in usage.read()}
    assert 0.05 < first[CPU] < 8
    assert first[MEMORY] > 10 << 20


def test_gpus_have_values_of_their_own() -> None:
    found = Usage(Gpus(Nvml(2))).read()
    assert [used for used in found if used.labels] == [
        Used("gpu_utilization", 0.75, {"gpu": "0"}),
        Used("gpu_memory_bytes", 3 << 30, {"gpu": "0"}),
        Used("gpu_utilization", 0.75, {"gpu": "1"}),
        Used("gpu_memory_bytes", 4 << 30, {"gpu": "1"}),
    ]


def test_each_model_has_a_sample_of_each_value_with_the_workers_name() -> None:
    used = [Used("gpu_utilization", 0.5, {"gpu": "0"})]
    found = list(samples("w1", used, ["films", "ranker"], 1_700_000_000_000))
    assert [(one.model, one.name, one.value, one.phase, one.labels) for one in found] == [
        (model, "gpu_utilization", 0.5, "serving", {"worker": "w1", "gpu": "0"})
        for model in ("films", "ranker")
    ]
    assert found[0].ts == pytest.approx(1_700_000_000_000)
