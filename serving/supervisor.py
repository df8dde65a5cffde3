"""`headgate serve`: keeps one worker's process running, whatever its models do to it.

The worker writes what it runs into memory that both share (`flight.py`). When it crashes or hangs, it is
started again at once and told what ran then (`suspects.py`); when it dies with nothing running, after a pause
that grows. It imports neither Kafka's client nor ONNX Runtime, so there is little in it that could end it.
"""

import contextlib
import logging
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import msgspec

from schemas.settings import Settings
from serving.fitness import Fitness
from serving.flight import Aboard, Flight
from serving.loads import Loads
from serving.post import MENDABLE, PATIENCE, Post, log_to_stderr, post
from serving.repository import Fingerprint, Repository
from serving.suspects import Suspects
from streams.backoff import HEALTHY, Backoff
from streams.environment import environment

log = logging.getLogger("headgate.serving")

IN_ORDER = (0, -signal.SIGTERM)
"""Exit statuses of a worker that was told to end: the second of one that had not begun yet."""

GLANCE = 1.0
"""Seconds at most between two looks at whether the worker hangs."""

TUNABLES = "GLIBC_TUNABLES"
HUGE_PAGES = "glibc.malloc.hugetlb=1"
"""Has the worker's C library ask for huge pages where it takes much memory at once: a version's weights come
and go in a tenth of the page faults, in a third of the processor time. Only glibc can be told so, and only as
a process begins. https://www.gnu.org/software/libc/manual/html_node/Memory-Allocation-Tunables.html
"""


def serve(settings: Settings, models: Path, only: Sequence[str] = (), threads: int = 1) -> int:
    """Serves the model repository `models` (of its models `only` those named) until SIGTERM or Ctrl-C.

    Answers the exit status: 0 if the worker ended in good order, 1 if it did not, or has said what a person
    can mend. `threads`: CPU threads of one model run. Raises `HeadgateError` for a folder or a model that is
    missing.
    """
    assigned = post(settings, models, only, threads)
    log_to_stderr()
    supervisor = Supervisor(assigned)

    def halt(_signal: int, _frame: FrameType | None) -> None:
        supervisor.end()

    before = {number: signal.signal(number, halt) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        return supervisor.run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Limit(NamedTuple):
    """What may take so many seconds; `since`: when it began (monotonic ns), 0 where it does not go on. `end`:
    what is said of a worker that was ended for it."""

    since: Callable[[], int]
    seconds: float
    end: str


class Life(NamedTuple):
    """How a worker's process ended: exit status or minus a signal, in words, and after how many seconds; what
    ran then, what was being loaded, and whether it had come to serve. `overdue`: what it was ended for."""

    status: int
    end: str
    lived: float
    aboard: Aboard | None
    load: str
    served: bool
    overdue: Limit | None = None


class Supervisor:
    """Runs the worker of `assigned` until it is told to end."""

    def __init__(self, assigned: Post) -> None:
        self._post = assigned
        self._flight = flight = Flight.shared()
        hang, load = assigned.settings.serving.hang_s, assigned.settings.serving.load_s
        self._run_limit = Limit(flight.since, hang, f"no result within {hang:g} s")
        self._load_limit = Limit(flight.loads_since, load, f"not loaded within {load:g} s")
        self._suspects = Suspects()
        self._loads = Loads()
        self._fitness = Fitness()
        self._backoff = Backoff(random.Random())  # noqa: S311 (jitter, not a secret)
        self._restarts = 0
        # A signal handler must take no lock; what it writes here ends every wait.
        self._told, self._tell = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._is_ending = False

    def end(self) -> None:
        """Ends the worker in good order, and then `run`. Safe in a signal handler."""
        self._is_ending = True
        os.write(self._tell, b"!")

    def run(self) -> int:
        """Returns once the worker has ended for good; answers the exit status."""
        while not self._is_ending:
            life = self._live()
            if self._is_ending:
                break
            if life.status == MENDABLE:
                return 1
            self._restarts += 1
            self._mourn(life)
        else:
            return 0
        if life.status in IN_ORDER:
            return 0
        log.error("the worker did not end in good order: %s", life.end)
        return 1

    def _live(self) -> Life:
        """One worker's process, from its start to its end."""
        flight = self._flight
        flight.clear()
        started = time.monotonic()
        process = self._start()
        overdue = self._watch(process)
        status = process.wait()
        end = _in_words(status) if overdue is None else overdue.end
        lived = time.monotonic() - started
        return Life(status, end, lived, flight.aboard(), flight.loads(), flight.serves, overdue)

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving.worker"],
            stdin=subprocess.PIPE,
            pass_fds=[self._flight.descriptor],
            env=environment() | {TUNABLES: ":".join(filter(None, (HUGE_PAGES, os.environ.get(TUNABLES))))},
            start_new_session=True,  # Ctrl-C in a terminal is for us, and we pass it on
        )
        told = msgspec.structs.replace(
            self._post,
            parent=os.getpid(),
            flight=self._flight.descriptor,
            suspects=self._suspects.list(),
            loads=self._loads.list(),
            unfit=self._fitness.list(),
            restarts=self._restarts,
        )
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin as stdin:  # it may be dead already
            stdin.write(msgspec.json.encode(told))
        return process

    def _watch(self, process: subprocess.Popen[bytes]) -> Limit | None:
        """Waits until the process ends, and ends it where it hangs, or does not end in time when it is told
        to. Answers what it was ended for, where it hung."""
        limits = (self._run_limit, self._load_limit)
        glance = 1000 * min(GLANCE, *(limit.seconds / 4 for limit in limits))
        gone = os.pidfd_open(process.pid)
        poll = select.poll()
        poll.register(gone, select.POLLIN)
        poll.register(self._told, select.POLLIN)
        deadline = None
        seen = [0 for _ in limits]
        try:
            while True:
                ready = {descriptor for descriptor, _ in poll.poll(glance)}
                if gone in ready:
                    return None
                if self._told in ready:
                    poll.unregister(self._told)
                    process.terminate()
                    deadline = time.monotonic() + PATIENCE
                if deadline is not None and time.monotonic() > deadline:
                    process.kill()
                    return None
                began = [limit.since() for limit in limits]
                for limit, since, before in zip(limits, began, seen, strict=True):
                    if since and since == before and time.monotonic_ns() - since > limit.seconds * 1e9:
                        process.kill()
                        return limit
                seen = began
        finally:
            os.close(gone)

    def _mourn(self, life: Life) -> None:
        """Says what happened, remembers what may have been the cause, and waits where nothing is known of
        it."""
        if life.served:
            self._loads.forget_first_tries()
        if life.overdue is self._load_limit and life.load:  # whatever ran meanwhile has no part in it
            self._loads.condemn(life.load, self._files(life.load), life.end)
            log.error("the worker was ended (%s: %s); it starts again without it", life.load, life.end)
        elif life.aboard is not None:
            self._suspect(life, life.aboard)
        elif life.load:
            self._loads.add(life.load, self._files(life.load), life.end)
            log.error("the worker died (%s) while it loaded %s; it starts again", life.end, life.load)
        else:
            pause = self._backoff.pause(HEALTHY if life.served else life.lived)
            log.error(
                "the worker died (%s) after %.0f s, no request was running; it starts again in %.1f s",
                life.end,
                life.lived,
                pause,
            )
            select.select([self._told], [], [], pause)

    def _files(self, label: str) -> Fingerprint:
        model, _, version = label.partition("/")
        return Repository(Path(self._post.models)).fingerprint(model, version)

    def _suspect(self, life: Life, aboard: Aboard) -> None:
        guilty = self._suspects.add(aboard, life.end)
        self._fitness.add(aboard.label, aboard.proven, life.end, time.monotonic())
        log.error(
            "the worker died (%s) while %s ran %d requests%s; it starts again, and tries each of them alone",
            life.end,
            aboard.label,
            len(aboard.places),
            " as a shadow" if aboard.arm == "shadow" else "",
        )
        if guilty is not None:
            log.error(
                "inference.requests, partition %d, offset %d has ended the worker %d times: %s",
                guilty.partition,
                guilty.offset,
                len(guilty.ends),
                "its shadow is left out" if guilty.shadow else "it is answered with an error",
            )


def _in_words(status: int) -> str:
    return f"exit status {status}" if status >= 0 else signal.Signals(-status).name
