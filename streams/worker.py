"""One stage's process, as the supervisor starts it: `python -m streams.worker STAGE PARENT`, settings as JSON
on standard input.

Not to be called by hand; that is `headgate streams STAGE`.
"""

import logging
import os
import select
import signal
import sys
import threading
import time

import msgspec

from schemas.errors import HeadgateError
from schemas.settings import Settings
from streams import app, registry

log = logging.getLogger("headgate")


def _unless_noise(record: logging.LogRecord) -> bool:
    """Of the libraries beneath only what comes with a traceback: they report every lost connection, which
    `app.py` says once, in words."""
    library = record.name.partition(".")[0] in ("aiokafka", "faust", "mode")
    return not library or (record.exc_info is not None and record.exc_info[0] is not None)


def end_with_parent(parent: int) -> None:
    """Has this process end soon after process `parent` has, however that ended. A pidfd sees even `kill -9`,
    and a thread of its own acts on it even while the main one is stuck."""
    try:
        watched = os.pidfd_open(parent)
    except ProcessLookupError:
        sys.exit(1)
    if os.getppid() != parent:
        sys.exit(1)
    threading.Thread(target=_end_after, args=(watched,), daemon=True).start()


def _end_after(watched: int) -> None:
    select.select([watched], [], [])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(app.ENDING)
    os.kill(os.getpid(), signal.SIGKILL)


def log_to_stderr() -> None:
    """What a stage's process logs, and how."""
    handler = logging.StreamHandler()
    handler.addFilter(_unless_noise)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", handlers=[handler]
    )


def main(name: str, parent: int) -> int:
    """Runs the stage; answers the process's exit status."""
    end_with_parent(parent)
    log_to_stderr()
    try:
        settings = msgspec.json.decode(sys.stdin.buffer.read(), type=Settings)
        return app.run(registry.construct(name, settings), settings)
    except HeadgateError as error:
        log.error("%s", error)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
