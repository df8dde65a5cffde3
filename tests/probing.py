"""What a process answers at the port at which it tells of its health."""

import http.client
from typing import NamedTuple


class Answer(NamedTuple):
    """Status 0: none came."""

    status: int
    text: str


def ask(port: int, path: str, timeout: float = 10.0) -> Answer:
    """Asks on this machine; `timeout` in seconds."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return Answer(response.status, response.read().decode().strip())
    except OSError:
        return Answer(0, "")
    finally:
        connection.close()
