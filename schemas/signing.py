"""Signatures of control records: who may steer serving proves it with a key.

HMAC-SHA256 over the exact bytes of a record's value, in its header `headgate-signature`:

    v1;key=2026-11;hmac=<64 hexadecimal digits>

`key` names the key, so that keys can be replaced one process after another: of a keyring the first key signs,
all are accepted. `signing_vectors.json` has examples for other languages. Where no key is configured nothing
is signed, and nothing refused. Nothing here knows Kafka; what is signed and who checks it is in
`streams/judge/README.md`.
"""

import hmac
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from schemas.errors import HeadgateError
from schemas.settings import Signing

HEADER = "headgate-signature"
VARIABLE = "HEADGATE_SIGNING_KEYS"
"""The environment variable that may hold the keys themselves; stronger than a file."""

SHORTEST = 32
"""Bytes that a key has at least: as many as the hash (RFC 2104, section 3)."""

_KEY = re.compile(r"([A-Za-z0-9._-]{1,64}):([0-9A-Fa-f]*)")
_SIGNATURE = re.compile(r"v1;key=([A-Za-z0-9._-]{1,64});hmac=([0-9a-f]{64})")

Headers = Sequence[tuple[str, bytes | None]]


class Key(NamedTuple):
    """A secret and its public name."""

    id: str
    secret: bytes


class Keyring:
    """Keys that are accepted, of which the first signs; without keys, neither is done. `required`: records
    without a signature are refused too.
    """

    def __init__(self, keys: Sequence[Key] = (), *, required: bool = True) -> None:
        self._keys = {key.id: key for key in keys}
        self._signs = keys[0] if keys else None
        self._required = required

    def __bool__(self) -> bool:
        return self._signs is not None

    @property
    def ids(self) -> list[str]:
        """The names of its keys, the one that signs first."""
        return list(self._keys)

    def sign(self, value: bytes) -> list[tuple[str, bytes | None]]:
        """The headers that a record with this value needs.

        >>> Keyring([Key("2026-11", bytes(32))]).sign(b"{}")[0][1].decode()[:33]
        'v1;key=2026-11;hmac=22f8eea909400'
        """
        if self._signs is None:
            return []
        return [(HEADER, f"v1;key={self._signs.id};hmac={_digest(self._signs, value)}".encode())]

    def mistake(self, value: bytes, headers: Headers) -> str | None:
        """What is wrong with a record's signature, in words; None where nothing is."""
        if self._signs is None:
            return None
        found = [signature for name, signature in headers if name == HEADER]
        if not found:
            return "it is not signed" if self._required else None
        if len(found) > 1:
            return f"found {len(found)} headers {HEADER}, expected one"
        text = (found[0] or b"").decode("ascii", "replace")
        parts = _SIGNATURE.fullmatch(text)
        if parts is None:
            return f"{HEADER}: found {text[:100]!r}, expected v1;key=…;hmac=… with 64 hexadecimal digits"
        key = self._keys.get(parts[1])
        if key is None:
            return f"it is signed with key {parts[1]}, expected one of {', '.join(self._keys)}"
        if not hmac.compare_digest(_digest(key, value), parts[2]):
            return f"its signature does not fit: it was changed, or signed with another key {parts[1]}"
        return None

    def is_current(self, headers: Headers) -> bool:
        """Whether a record was signed with the key that signs now."""
        start = "" if self._signs is None else f"v1;key={self._signs.id};"
        return any(name == HEADER and (found or b"").startswith(start.encode()) for name, found in headers)


def keyring(settings: Signing, environ: Mapping[str, str] = os.environ) -> Keyring:
    """The keys of the environment, else those of the file that the settings name.

    A file has a key a line, `NAME:SECRET` in hexadecimal digits, and comments after `#`; the variable has
    them with commas between. Raises `HeadgateError` that says where and what, but never a secret.
    """
    if environ.get(VARIABLE):
        return Keyring(list(_read(VARIABLE, environ[VARIABLE].split(","))), required=settings.required)
    if not settings.keys:
        return Keyring()
    file = Path(settings.keys)
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "found bytes that are not UTF-8"
        raise HeadgateError(f"{file}: {reason}, expected the file that [signing] keys names") from error
    return Keyring(list(_read(str(file), lines)), required=settings.required)


def _read(source: str, lines: Sequence[str]) -> Iterator[Key]:
    names: set[str] = set()
    for number, line in enumerate(lines, start=1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        parts = _KEY.fullmatch(text)
        if parts is None or len(parts[2]) % 2:
            raise HeadgateError(
                f"{source}:{number}: found no key, expected NAME:SECRET, the secret in hexadecimal digits "
                "(`openssl rand -hex 32` makes one)"
            )
        name, secret = parts[1], bytes.fromhex(parts[2])
        if len(secret) < SHORTEST:
            raise HeadgateError(
                f"{source}:{number}: key {name}: found {len(secret)} bytes, expected at least {SHORTEST}"
            )
        if name in names:
            raise HeadgateError(f"{source}:{number}: found key {name} again, expected each name once")
        names.add(name)
        yield Key(name, secret)
    if not names:
        raise HeadgateError(f"{source}: found no key, expected at least one line NAME:SECRET")


def _digest(key: Key, value: bytes) -> str:
    return hmac.new(key.secret, value, sha256).hexdigest()
