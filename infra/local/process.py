"""One process of the local stack: started under a guard, so that it ends with us, and observed until it
answers.

Not for the stages and serving workers: those are Headgate's own processes, with a supervisor that restarts
them.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from infra.local import guard
from schemas.errors import HeadgateError

START_TIMEOUT = 90.0
"""Seconds until a process must answer: a start takes three, the rest is for machines with other work to do.
"""

STOP_TIMEOUT = 20.0
"""Seconds that a process has to end in good order before it is killed."""


class Process:
    """A guarded process, its output in the file `log`; can be started again once it has ended."""

    def __init__(self, name: str, log: Path) -> None:
        self.name = name
        self._log = log
        self._log_start = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The guard's process id, which is also its session's; the process itself is its child."""
        return self._process.pid if self._process is not None else None

    def start(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Starts `command`, with `environment` added to ours. A session of its own: Ctrl-C in a terminal is
        for us to act on."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", guard.__file__, str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    def wait_until(self, answers: Callable[[], bool]) -> None:
        """Returns once `answers` does with true. Raises `HeadgateError`, with the log's end, where the
        process ends first or never answers."""
        deadline = time.monotonic() + START_TIMEOUT
        while not answers():
            if not self.running:
                raise HeadgateError(
                    f"{self.name} ended while starting: {self._last_words()} (all of it: {self._log})"
                )
            if time.monotonic() > deadline:
                raise HeadgateError(
                    f"{self.name} does not answer after {START_TIMEOUT:.0f} s; see {self._log}"
                )
            time.sleep(0.02)

    def stop(self) -> None:
        """Ends it in good order (SIGTERM), by force after `STOP_TIMEOUT`; nothing happens where it does not
        run."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Ends it as a crash would, with SIGKILL, and returns once it is gone."""
        if self._process is None:
            return
        self._process.send_signal(guard.KILL)
        self._process.wait()

    def _last_words(self) -> str:
        log = self._log.read_bytes()[self._log_start :].decode(errors="replace")
        lines = [line.strip() for line in log.splitlines()]
        telling = [line for line in lines if "Error" in line or "Exception" in line]
        return (telling or lines or ["it said nothing"])[-1]
