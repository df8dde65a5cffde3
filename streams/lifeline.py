"""A process that must not outlive the one that started it. Light to import."""

import os
import select
import signal
import sys
import threading
import time


def end_with_parent(parent: int, grace: float) -> None:
    """Has this process end soon after process `parent` has, however that ended: SIGTERM, and SIGKILL `grace`
    seconds later. A pidfd sees even `kill -9`, and a thread of its own acts on it even while the main one is
    stuck.
    """
    try:
        watched = os.pidfd_open(parent)
    except ProcessLookupError:
        sys.exit(1)
    if os.getppid() != parent:
        sys.exit(1)
    threading.Thread(target=_end_after, args=(watched, grace), daemon=True).start()


def _end_after(watched: int, grace: float) -> None:
    select.select([watched], [], [])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace)
    os.kill(os.getpid(), signal.SIGKILL)
