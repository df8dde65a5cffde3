"""Is what runs in this container healthy? Asks each of ours that listens for `/healthz`, and how long it
lives; exit status 0 if at least one does, and all of them are well. For Docker's health checks; Kubernetes
asks by itself.

A process that dies and is started again says that it is well, each time, until it dies again. Docker believes
the first yes, so there is none before a process has lived for `YOUNG` seconds.

The ports are the defaults of `[streams] health`, one a stage, and of `[serving] health`. Only the standard
library: it runs every few seconds.
"""

import re
import sys
import time
import urllib.error
import urllib.request

PORTS = (9400, 9401, 9402, 9403, 9404, 9420)
PATIENCE = 3.0
"""Seconds that an answer may take."""
YOUNG = 8.0
"""Seconds: whoever cannot work as it is set up has died by then."""

_STARTED = re.compile(r"^process_start_time_seconds(?:{[^}]*})? (\S+)$", re.MULTILINE)


def ask(port: int, now: float) -> bool | None:
    """Whether who listens there is well at `now` (Unix time); None where nobody does."""
    try:
        _get(port, "/healthz")
        started = _STARTED.search(_get(port, "/metrics"))
    except urllib.error.HTTPError as error:
        print(f"{port}: {error.read().decode(errors='replace').strip()}")
        return False
    except urllib.error.URLError as error:
        if isinstance(error.reason, ConnectionRefusedError):
            return None
        print(f"{port}: {error.reason}")
        return False
    except TimeoutError:
        print(f"{port}: no answer within {PATIENCE:g} s")
        return False
    if started and now - float(started[1]) < YOUNG:
        print(f"{port}: started {now - float(started[1]):.0f} s ago, which is too early to say")
        return False
    return True


def _get(port: int, path: str) -> str:
    """What it answers. Raises `URLError`, of which anything but success is one, and `TimeoutError`."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as reply:
        return str(reply.read().decode(errors="replace"))


if __name__ == "__main__":
    answers = [answer for port in PORTS if (answer := ask(port, time.time())) is not None]
    sys.exit(0 if answers and all(answers) else 1)
