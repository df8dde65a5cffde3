"""Loopback ports for the local stack: a free one, or the news that the wanted one is taken."""

import errno
import secrets
import socket

from schemas.errors import HeadgateError

HOST = "127.0.0.1"

UNPRIVILEGED = range(20_000, 32_000)
"""Where free ports are looked for: below the range that Linux draws outgoing connections from (32768 and up).
A port from that range could be taken while its server restarts, even by a client that connects to itself
while it retries."""


_reserved: list[socket.socket] = []


def free() -> int:
    """A port that nobody listens on, and that no other local stack on this machine is given while this
    process lives."""
    while True:
        port = secrets.choice(UNPRIVILEGED)
        # A name in the kernel's abstract namespace is taken by one process, and free again when that ends.
        reservation = socket.socket(socket.AF_UNIX)
        try:
            reservation.bind(f"\0headgate-port-{port}")
        except OSError:
            reservation.close()
            continue
        if _is_free(port):
            _reserved.append(reservation)
            return port
        reservation.close()


def require_free(what: str, port: int, option: str) -> None:
    """Raises `HeadgateError` where `what` cannot listen on `port`; `option` chooses another."""
    if not _is_free(port):
        raise HeadgateError(
            f"{what}: port {port} on {HOST} is in use by another process; "
            f"stop that, or choose another port with {option} PORT"
        )


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as servers do: connections that just ended do not count
        try:
            listener.bind((HOST, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
        return True
