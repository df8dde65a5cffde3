"""The supervisor with real processes: they come back, their lines are told apart, and none outlives it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil
import pytest

from infra.local import ports
from schemas.settings import Settings
from streams.supervisor import Child

SUPERVISE = """\
import asyncio, signal, sys
import msgspec
from streams.supervisor import Child, Supervisor

async def main():
    supervisor = Supervisor(msgspec.json.decode(sys.stdin.buffer.read(), type=dict[str, Child]))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, supervisor.end)
    await supervisor.run()

asyncio.run(main())
"""
FOREVER = "import time, sys; print('here', flush=True); time.sleep(600)"
BOUND = """\
import os, time
from streams.worker import end_with_parent
end_with_parent(os.getppid())
print('here', flush=True)
time.sleep(600)
"""


class Run:
    """A supervisor in a process of its own, and what it has printed."""

    def __init__(self, log: Path, **children: Child) -> None:
        self.log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SUPERVISE], stdin=subprocess.PIPE, stderr=out
            )
        assert self.process.stdin is not None
        with self.process.stdin as stdin:
            stdin.write(msgspec.json.encode(children))

    def text(self) -> str:
        return self.log.read_text()

    def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not holds():
            assert time.monotonic() < deadline, self.text()
            time.sleep(0.02)

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()


Start = Callable[..., Run]


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Start]:
    """Starts supervisors that end with the test, with their children."""
    runs: list[Run] = []

    def supervise(**children: Child) -> Run:
        runs.append(Run(tmp_path / f"log-{len(runs)}", **children))
        return runs[-1]

    yield supervise
    for run in runs:
        if run.process.poll() is None:
            for child in run.children():
                with suppress(psutil.NoSuchProcess):  # it has ended meanwhile: some of them are to die
                    child.kill()
            run.process.kill()
            run.process.wait()


def python(program: str, text: bytes = b"") -> Child:
    return Child([sys.executable, "-c", program], text)


def gone(processes: list[psutil.Process]) -> bool:
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


def test_each_line_has_the_name_of_its_process_before_it(supervise: Start) -> None:
    run = supervise(join=python("print('one')"), judge=python("import sys; print('two', file=sys.stderr)"))
    run.until(lambda: "join  | one\n" in run.text() and "judge | two\n" in run.text())


def test_a_process_gets_its_input(supervise: Start) -> None:
    run = supervise(join=python("print(input())", b"settings"))
    run.until(lambda: "join | settings\n" in run.text())


@pytest.mark.parametrize(("wanted", "found"), [(None, "1"), ("3", "3")])
def test_a_library_has_one_thread_for_matrices_unless_the_user_wants_more(
    supervise: Start, monkeypatch: pytest.MonkeyPatch, wanted: str | None, found: str
) -> None:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    if wanted is not None:
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", wanted)
    run = supervise(join=python("import os; print('threads', os.environ['OPENBLAS_NUM_THREADS'])"))
    run.until(lambda: f"join | threads {found}\n" in run.text())


def test_a_process_that_dies_is_started_again_and_both_are_said(supervise: Start) -> None:
    run = supervise(join=python("import sys; sys.exit(3)"))
    run.until(lambda: run.text().count("join | started, pid") >= 2)
    assert "join | died (exit status 3) after 0 s; starts again in 0." in run.text()


def test_a_process_that_is_killed_is_said_to_be(supervise: Start) -> None:
    run = supervise(join=python(FOREVER))
    run.until(lambda: "here" in run.text())
    run.children()[0].kill()
    run.until(lambda: "join | died (by SIGKILL)" in run.text())


def test_one_that_dies_does_not_disturb_the_others(supervise: Start) -> None:
    run = supervise(bad=python("raise SystemExit(1)"), good=python(FOREVER))
    run.until(lambda: run.text().count("bad  | started") >= 3)
    assert run.text().count("good | started") == 1


def test_told_to_end_it_ends_its_processes_and_then_itself(supervise: Start) -> None:
    run = supervise(join=python(FOREVER), judge=python(FOREVER))
    run.until(lambda: run.text().count("here") == 2)
    children = run.children()
    run.process.terminate()
    assert run.process.wait(10) == 0
    assert gone(children)
    assert "join  | ended (by SIGTERM)" in run.text()


def test_told_to_end_it_does_not_wait_to_start_a_dead_process_again(supervise: Start) -> None:
    run = supervise(join=python("raise SystemExit(1)"))
    run.until(lambda: run.text().count("died") >= 3)
    run.process.terminate()
    assert run.process.wait(5) == 0


def test_a_long_line_does_not_stop_it(supervise: Start) -> None:
    run = supervise(join=python("print('x' * 3_000_000); print('after')"))
    run.until(lambda: "join | after\n" in run.text())


def test_when_the_supervisor_is_killed_its_processes_end(supervise: Start) -> None:
    run = supervise(join=python(BOUND))
    run.until(lambda: "here" in run.text())
    children = run.children()
    run.process.kill()
    run.process.wait()
    run.until(lambda: gone(children))


def test_a_worker_without_kafka_says_so_once_and_ends_in_good_order() -> None:
    settings = msgspec.structs.replace(
        Settings(), kafka=msgspec.structs.replace(Settings().kafka, brokers=f"127.0.0.1:{ports.free()}")
    )
    worker = subprocess.Popen(
        [sys.executable, "-m", "streams.worker", "sink", str(os.getpid())],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert worker.stdin is not None
    assert worker.stderr is not None
    with worker.stdin as stdin:
        stdin.write(msgspec.json.encode(settings))
    lines: list[str] = []
    while "does not answer" not in (line := worker.stderr.readline().decode()):
        assert line, lines
        lines.append(line)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(10) == 0
