"""`headgate streams`: one process for each stage, started again when it dies, ended when we end.

Knows nothing of what a stage does; the process's own side is `worker.py`.
"""

import asyncio
import contextlib
import os
import random
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from typing import TextIO

import msgspec

from schemas.settings import Settings
from streams import registry
from streams.backoff import Backoff
from streams.environment import environment

PATIENCE = 25.0
"""Seconds that a process has to end in good order."""
LINE = 1 << 20
"""Bytes of the longest line of output that is passed on."""


class Child(msgspec.Struct, frozen=True):
    """What to run: a command, and what it gets on standard input."""

    command: Sequence[str]
    input: bytes = b""


class Supervisor:
    """Keeps processes running until it is told to end. Their output goes to `out`, each line with its
    process's name before it."""

    def __init__(self, children: Mapping[str, Child], out: TextIO = sys.stderr) -> None:
        self._children = children
        self._out = out
        self._width = max(map(len, children), default=0)
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Ends all processes in good order, and then `run`."""
        self._ending.set()

    async def run(self) -> None:
        """Returns once all processes have ended after `end`."""
        await asyncio.gather(*(self._keep_running(name, child) for name, child in self._children.items()))

    async def _keep_running(self, name: str, child: Child) -> None:
        backoff = Backoff(random.Random())  # noqa: S311 (jitter, not a secret)
        while True:
            started = time.monotonic()
            status = await self._run_once(name, child)
            if self._ending.is_set():
                self._say(name, f"ended ({status})")
                return
            pause = backoff.pause(time.monotonic() - started)
            self._say(
                name,
                f"died ({status}) after {time.monotonic() - started:.0f} s; starts again in {pause:.1f} s",
            )
            if await self._is_ending_within(pause):
                return

    async def _run_once(self, name: str, child: Child) -> str:
        """Runs the process to its end; answers how it ended, in words."""
        process = await asyncio.create_subprocess_exec(
            *child.command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=LINE,
            env=environment(),
            start_new_session=True,  # Ctrl-C in a terminal is for us, and we pass it on
        )
        self._say(name, f"started, pid {process.pid}")
        ending = asyncio.ensure_future(self._end_in_time(process))
        try:
            await asyncio.gather(_hand_over(process, child.input), self._relay(name, process))
            return _in_words(await process.wait())
        finally:
            ending.cancel()

    async def _end_in_time(self, process: Process) -> None:
        await self._ending.wait()
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
            await asyncio.sleep(PATIENCE)
            process.kill()

    async def _relay(self, name: str, process: Process) -> None:
        assert process.stdout is not None
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:  # longer than LINE: that much of it is dropped
                line = b"(a line too long to show)\n"
            if not line:
                return
            self._say(name, line.decode(errors="replace").rstrip("\n"))

    async def _is_ending_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), seconds)
        return self._ending.is_set()

    def _say(self, name: str, line: str) -> None:
        print(f"{name:<{self._width}} | {line}", file=self._out, flush=True)


async def _hand_over(process: Process, text: bytes) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(text)
        await process.stdin.drain()
    process.stdin.close()


def _in_words(status: int) -> str:
    return f"exit status {status}" if status >= 0 else f"by {signal.Signals(-status).name}"


def children(names: Sequence[str], settings: Settings) -> dict[str, Child]:
    """The processes of the named stages; where none is named, of all that have something to do. Raises
    `HeadgateError` for a name that is no stage's, or a named stage without anything to do."""
    registry.require_known(names)
    registry.require_work(names, settings)
    command = [sys.executable, "-m", "streams.worker"]
    text = msgspec.json.encode(settings)
    return {
        name: Child([*command, name, str(os.getpid())], text) for name in names or registry.default(settings)
    }


def run(names: Sequence[str], settings: Settings) -> int:
    """Runs the named stages (where none is named, all that have something to do) until SIGINT or SIGTERM;
    answers the exit status of `headgate streams`."""
    if not names and not settings.notify.configured:
        print(f"notify does not run: {registry.NOBODY_TO_NOTIFY}", file=sys.stderr, flush=True)
    asyncio.run(_run_until_told(children(names, settings)))
    return 0


async def _run_until_told(processes: Mapping[str, Child]) -> None:
    supervisor = Supervisor(processes)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, supervisor.end)
    await supervisor.run()
