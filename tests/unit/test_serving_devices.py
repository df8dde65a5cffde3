"""What versions run on: which devices the settings come to on which machine, and with which options."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from schemas.errors import HeadgateError
from schemas.settings import Serving
from serving import devices
from serving.devices import CPU, CUDA, TENSORRT, Device

BUILT_FOR_GPUS = (TENSORRT, CUDA, CPU)


def execution(
    settings: Serving, available: Sequence[str] = BUILT_FOR_GPUS, present: Sequence[int] = (0,)
) -> devices.Execution:
    return devices.execution(settings, 1, available, present)


def test_by_itself_a_machine_with_a_gpu_runs_on_it() -> None:
    assert execution(Serving()).devices == (Device("cuda", 0),)


@pytest.mark.parametrize(("available", "present"), [((CPU,), (0,)), (BUILT_FOR_GPUS, ())])
def test_by_itself_a_machine_without_a_gpu_or_a_runtime_for_it_runs_on_the_cpu(
    available: Sequence[str], present: Sequence[int]
) -> None:
    assert execution(Serving(), available, present).devices == (Device("cpu"),)


def test_rows_are_divided_between_all_sessions_of_all_gpus() -> None:
    found = execution(Serving(gpus=(1, 3), sessions=2)).devices
    assert found == (Device("cuda", 1), Device("cuda", 1), Device("cuda", 3), Device("cuda", 3))


def test_on_the_cpu_several_sessions_are_on_one_device() -> None:
    assert execution(Serving(device="cpu", gpus=(0, 1), sessions=2)).devices == (Device("cpu"),) * 2


def test_a_device_that_onnx_runtime_was_not_built_for_is_a_mistake_that_says_what_to_do() -> None:
    with pytest.raises(HeadgateError, match=r"\[serving\]: found 'cuda'.*install the extra gpu"):
        execution(Serving(device="cuda"), available=(CPU,))


def test_what_tensorrt_cannot_do_cuda_does_and_then_the_cpu() -> None:
    chain = devices.providers(Device("tensorrt", 2), execution(Serving()), Path("/engines"))
    assert [name for name, _ in chain] == [TENSORRT, CUDA, CPU]
    assert [options.get("device_id") for _, options in chain] == ["2", "2", None]


@pytest.mark.parametrize(("precision", "flag"), [("fp32", "0"), ("fp16", "1")])
def test_tensorrt_computes_in_the_precision_of_the_settings(precision: str, flag: str) -> None:
    how = execution(Serving(device="tensorrt", precision=precision))  # type: ignore[arg-type]
    options = devices.providers(how.devices[0], how, Path("/engines"))[0][1]
    assert options["trt_fp16_enable"] == flag


def test_engines_of_two_files_are_kept_apart_though_their_version_has_one_name() -> None:
    how = execution(Serving(device="tensorrt", engines="/engines"))
    first, second = (devices.engines_of(how, "ranker", "v1", sum_ * 64) for sum_ in "ab")
    assert first != second
    assert first.parent == second.parent == Path("/engines/ranker")


def test_only_what_compiles_for_each_shape_has_buckets() -> None:
    assert not Device("cpu").buckets
    assert not Device("cuda").buckets
    assert Device("tensorrt").buckets


def test_the_machines_gpus_are_counted_by_their_device_files(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "nvidia10"):
        (tmp_path / name).touch()
    assert devices.gpus(tmp_path) == [0, 1, 10]


def test_sessions_make_no_threads_on_one_thread_of_the_cpu_alone() -> None:
    one, several = (devices.execution(Serving(device="cpu"), threads, (CPU,), ()) for threads in (1, 2))
    assert one.single_threaded
    assert not several.single_threaded
    assert not execution(Serving(device="cuda")).single_threaded
