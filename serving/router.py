"""Which arm a request belongs to: a stable hash, the same on every worker and in every language. Vectors:
`arm_vectors.json`."""

from hashlib import sha256
from typing import Literal

from schemas.records import Request


def is_candidate(salt: str, unit: str, weight: float) -> bool:
    """Whether `unit` is in the candidate's share: the first 8 bytes of SHA-256(`salt` + ":" + `unit`) as a
    big-endian integer, divided by 2^64, are below `weight`. Who is in stays in as the weight grows.

    >>> is_candidate("s", "u1", 0.0), is_candidate("s", "u1", 1.0)
    (False, True)
    """
    number = int.from_bytes(sha256(f"{salt}:{unit}".encode()).digest()[:8], "big")
    # A power of two scales a float exactly, and Python compares int and float exactly: dividing could round
    # up to the weight.
    return number < weight * 2**64


def unit_of(request: Request, unit: Literal["user", "request"]) -> str:
    """Who is randomized: the user (the request where there is none), or always the request, as the policy's
    `unit` says."""
    if unit == "user" and request.user is not None:
        return str(request.user)
    return request.request_id
