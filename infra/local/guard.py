"""Runs a command that must not outlive the process that wanted it: `guard.py PARENT_PID COMMAND…`.

The parent is watched through a pidfd: that sees the process end, `kill -9` included, whichever of its threads
started us and whatever descriptors its other children inherited. The command in turn gets SIGKILL from the
kernel should the guard itself die. SIGTERM is passed on to the command's process group, SIGUSR1 becomes
SIGKILL there; exits with the command's status.

A script for the standard library alone (`python -I -S`), so that it costs little to start; `process.py` uses
it.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence

GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL once the parent is gone."""

KILL = signal.SIGUSR1
"""Asks for the command's SIGKILL: the guard then sees it end, and ends itself only after that."""

PR_SET_PDEATHSIG = 1
PARENT_IS_GONE = 1


def main(parent_pid: int, command: Sequence[str]) -> int:
    """Runs `command` till it ends or the parent does; its exit status, 128 + n where signal n ended it."""
    try:
        parent = os.pidfd_open(parent_pid)
    except ProcessLookupError:
        return PARENT_IS_GONE
    if os.getppid() != parent_pid:  # it died, and its number may be another's by now
        return PARENT_IS_GONE
    child = subprocess.Popen(command, process_group=0, preexec_fn=_die_with(os.getpid()))  # noqa: PLW1509 (one thread)

    def send(number: signal.Signals) -> None:
        if child.poll() is None:
            os.killpg(child.pid, number)

    signal.signal(signal.SIGTERM, lambda _number, _frame: send(signal.SIGTERM))
    signal.signal(KILL, lambda _number, _frame: send(signal.SIGKILL))
    poll = select.poll()
    poll.register(parent, select.POLLIN)
    poll.register(os.pidfd_open(child.pid), select.POLLIN)
    if parent in (descriptor for descriptor, _ in poll.poll()):
        send(signal.SIGTERM)
        try:
            child.wait(GRACE)
        except subprocess.TimeoutExpired:
            send(signal.SIGKILL)
    status = child.wait()
    return status if status >= 0 else 128 - status


def _die_with(guard: int) -> Callable[[], None]:
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard:  # it died before we asked
            os._exit(PARENT_IS_GONE)

    return ask


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
