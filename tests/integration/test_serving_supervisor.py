"""The supervisor of a serving worker with real processes, and no Kafka: they wait for it, and that is enough
to be killed."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from infra.local import ports
from schemas.settings import Kafka, Serving, Settings
from tests import serving_models as models
from tests.integration.serving_world import Process, until


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Process]]:
    """Starts supervisors, which end with the test."""
    models.add_version(tmp_path / "models", "v1")
    nobody = Settings(kafka=Kafka(brokers=f"127.0.0.1:{ports.free()}"), serving=Serving(health="off"))
    started: list[Process] = []

    def start() -> Process:
        started.append(Process(nobody, tmp_path / "models", [], tmp_path / f"log-{len(started)}"))
        return started[-1]

    yield start
    for process in started:
        process.kill()


def deaths(worker: Process) -> int:
    """Of which the supervisor has said so."""
    return worker.said.count("the worker died (SIGKILL)")


def test_a_worker_that_dies_at_every_start_is_started_less_and_less_often(
    start: Callable[[], Process],
) -> None:
    worker = start()
    for number in range(3):
        worker.crash()
        until(partial(lambda before: deaths(worker) > before, number))
    found = re.findall(r"no request was running; it starts again in ([\d.]+) s", worker.said)
    pauses = [float(pause) for pause in found]
    assert 0.2 <= pauses[0] <= 0.5
    assert 1.0 <= pauses[2] <= 2.0


def test_a_worker_ends_with_its_supervisor(start: Callable[[], Process]) -> None:
    worker = start()
    serving = worker.serving()
    until(lambda: "cannot be reached" in worker.said)  # it has begun
    psutil.Process(worker.pid).kill()
    serving.wait(30)  # raises if it does not


def test_a_supervisor_that_is_told_to_stop_ends_its_worker_first(start: Callable[[], Process]) -> None:
    worker = start()
    serving = worker.serving()
    status, _ = worker.terminate()
    assert status == 0
    assert not serving.is_running()


def test_a_worker_takes_its_memory_in_huge_pages_beside_what_its_user_has_tuned(
    start: Callable[[], Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.perturb=0")
    serving = start().serving()
    until(lambda: "serving.worker" in serving.cmdline())  # before that it is still a copy of its supervisor
    found = Path(f"/proc/{serving.pid}/environ").read_text().replace("\0", ":")  # glibc has cut it up
    assert "GLIBC_TUNABLES=glibc.malloc.hugetlb=1:glibc.malloc.perturb=0:" in found
