"""The `headgate` command as a process, on the topics and the database of one test module."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from schemas.settings import Settings

PATIENCE = 60.0
"""Seconds that anything may take before the test fails."""


class Done(NamedTuple):
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, decoded."""
        return json.loads(self.out)


class Headgate:
    """Runs commands with `settings`, as `folder`/headgate.toml."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.folder = folder
        (folder / "headgate.toml").write_text(
            f'[kafka]\nbrokers = "{settings.kafka.brokers}"\n'
            f'[clickhouse]\nurl = "{settings.clickhouse.url}"\ndatabase = "{settings.clickhouse.database}"\n'
            f'[topics]\nprefix = "{settings.topics.prefix}"\npartitions = {settings.topics.partitions}\n'
        )

    def __call__(self, *arguments: str) -> Done:
        """Runs a command to its end."""
        done = subprocess.run(
            self._command(arguments),
            cwd=self.folder,
            env=_environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def file(self, name: str, text: str) -> str:
        """Writes a file beside the settings."""
        (self.folder / name).write_text(text)
        return name

    @contextmanager
    def running(self, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
        """A command that goes on until SIGTERM; it must then end well."""
        process = subprocess.Popen(
            self._command(arguments),
            cwd=self.folder,
            env=_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                status = process.wait(PATIENCE)
            finally:
                process.kill()
                process.wait()
        assert status == 0

    def _command(self, arguments: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "infra.cli", *arguments]


def until(condition: Callable[[], bool]) -> None:
    """Returns once `condition` holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "was waited for in vain"
        time.sleep(0.1)


def _environment() -> dict[str, str]:
    root = Path(__file__).parent.parent.parent
    return {k: v for k, v in os.environ.items() if not k.startswith("HEADGATE_")} | {"PYTHONPATH": str(root)}
