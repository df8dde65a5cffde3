"""Is what runs in this container healthy? Asks `/healthz` of each of ours that listens; exit status 0 if at
least one does, and all of them say yes. For Docker's health checks; Kubernetes asks by itself.

The ports are the defaults of `[streams] health`, one a stage, and of `[serving] health`. Only the standard
library: it runs every few seconds.
"""

import sys
import urllib.error
import urllib.request

PORTS = (9400, 9401, 9402, 9403, 9420)
PATIENCE = 3.0
"""Seconds that an answer may take."""


def ask(port: int) -> bool | None:
    """Whether who listens there is well; None where nobody does."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=PATIENCE) as reply:
            return bool(reply.status == 200)
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


if __name__ == "__main__":
    answers = [answer for answer in map(ask, PORTS) if answer is not None]
    sys.exit(0 if answers and all(answers) else 1)
