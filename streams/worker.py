"""One stage's process, as the supervisor starts it: `python -m streams.worker STAGE PARENT`, settings as JSON
on standard input.

Not to be called by hand; that is `headgate streams STAGE`.
"""

import logging
import sys

import msgspec

from schemas.errors import HeadgateError
from schemas.settings import Settings
from streams import app, lifeline, registry

log = logging.getLogger("headgate")


def _unless_noise(record: logging.LogRecord) -> bool:
    """Of the libraries beneath only what comes with a traceback: they report every lost connection, which
    `app.py` says once, in words."""
    library = record.name.partition(".")[0] in ("aiokafka", "faust", "mode")
    return not library or (record.exc_info is not None and record.exc_info[0] is not None)


def end_with_parent(parent: int) -> None:
    """Has this process end soon after process `parent` has, however that ended."""
    lifeline.end_with_parent(parent, app.ENDING)


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
