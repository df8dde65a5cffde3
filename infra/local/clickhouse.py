"""The local ClickHouse: the engine behind its HTTP interface, in a process of its own. What it serves is
`clickhouse_server.py`'s.

For development, the demo and tests; production has a ClickHouse of its own, and nothing of ours knows the
difference.
"""

import sys
import urllib.error
import urllib.request
from pathlib import Path

from infra.local import ports
from infra.local.process import Process


class ClickHouse:
    """The local ClickHouse. The same data and port over its whole life, whether it is stopped, killed or
    restarted meanwhile."""

    def __init__(
        self, data: Path, log: Path, port: int = 0, user: str = "default", password: str = ""
    ) -> None:
        """Keeps its data in the folder `data` and its complaints in the file `log`; admits `user`; port 0 is
        a free one."""
        self.port = port or ports.free()
        self._data = data
        self._account = {"HEADGATE_CLICKHOUSE_USER": user, "HEADGATE_CLICKHOUSE_PASSWORD": password}
        self._process = Process("ClickHouse", log)

    @property
    def url(self) -> str:
        """The endpoint, as clients take it."""
        return f"http://{ports.HOST}:{self.port}"

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process.running

    def start(self) -> None:
        """Starts it and waits until it answers. Raises `HeadgateError` for a busy port, or an engine that
        fails."""
        ports.require_free("ClickHouse", self.port, "--clickhouse-port")
        self._process.start(
            [
                sys.executable, "-m", "infra.local.clickhouse_server",
                "--data", str(self._data.resolve()), "--port", str(self.port),
            ],
            self._account,
        )  # fmt: skip
        self._process.wait_until(self._answers)

    def stop(self) -> None:
        """Ends it in good order."""
        self._process.stop()

    def kill(self) -> None:
        """Ends it as a crash would."""
        self._process.kill()

    def restart(self) -> None:
        """Starts it again, on the same data and port; stops it first where it runs."""
        self.stop()
        self.start()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/ping", timeout=5.0) as reply:  # noqa: S310 (our own http URL)
                return bool(reply.status == 200)
        except (OSError, urllib.error.URLError):
            return False
