"""Recordings as files of lines: plain, gzip or zstandard by their suffix, `-` for standard input."""

import gzip
import io
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import numpy as np

from schemas.errors import HeadgateError
from streams.columns import Bytes, Integers

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

STDIN = "-"

SIZE = 4 << 20
"""Bytes that are read at once."""

LONGEST = 256 << 20
"""Bytes of a line at most."""

NEWLINE = 10


class Lines(NamedTuple):
    """Whole lines of a file called `name`: n of them at `bounds`, int64[n, 2], in `data`, without their
    newlines; the first is number `first`, from 1 on.
    """

    name: str
    data: Bytes
    bounds: Integers
    first: int

    def place(self, index: int) -> str:
        """Where a line stands, for people."""
        return f"{self.name}:{self.first + index}"

    def text(self, index: int) -> bytes:
        """A line."""
        start, end = self.bounds[index].tolist()
        return self.data[start:end].tobytes()


def check(names: list[str]) -> None:
    """Raises `HeadgateError` where one is no readable file, or standard input is named twice."""
    if names.count(STDIN) > 1:
        raise HeadgateError("--events: found - twice, expected it once: standard input is read once")
    for name in names:
        if name != STDIN:
            with opened(name):
                pass


def read(name: str, size: int = SIZE) -> Iterator[Lines]:
    """The lines of a file. Raises `HeadgateError` where it cannot be read."""
    with opened(name) as file:
        yield from lines(file, "standard input" if name == STDIN else name, size)


def lines(file: BinaryIO, name: str, size: int = SIZE) -> Iterator[Lines]:
    """The lines of an open file that is called `name`, of about `size` bytes together."""
    first, parts = 1, list[bytes]()
    while chunk := _chunk(file, size, name):
        end = chunk.rfind(b"\n") + 1
        if not end:
            parts.append(chunk)
            if sum(map(len, parts)) > LONGEST:
                raise HeadgateError(
                    f"{name}:{first}: found a line of more than {LONGEST >> 20} MiB, expected a record a line"
                )
            continue
        found = _split(name, b"".join([*parts, chunk[:end]]), first)
        first += len(found.bounds)
        parts = [chunk[end:]] if end < len(chunk) else []
        yield found
    if parts:
        yield _split(name, b"".join([*parts, b"\n"]), first)


def opened(name: str) -> AbstractContextManager[BinaryIO]:
    """A file's bytes, unpacked. Raises `HeadgateError` where there is none to be read."""
    try:
        if name == STDIN:  # not Python's own buffer, whose lock a thread that waits in it would keep for ever
            return cast(BinaryIO, io.FileIO(0, closefd=False))
        if name.endswith(".gz"):
            return cast(BinaryIO, gzip.open(name, "rb"))
        if name.endswith((".zst", ".zstd")):
            return cast(BinaryIO, zstd.open(name, "rb"))
        return Path(name).open("rb")
    except OSError as error:
        raise HeadgateError(
            f"{name}: {error.strerror or error}; expected a file of recorded events"
        ) from error


def _chunk(file: BinaryIO, size: int, shown: str) -> bytes:
    parts, left = list[bytes](), size
    try:
        while left and (part := file.read(left)):  # a pipe gives a little at a time
            parts.append(part)
            left -= len(part)
        return b"".join(parts)
    except (OSError, EOFError, zstd.ZstdError) as error:  # a broken archive, a folder
        raise HeadgateError(f"{shown}: {error}; expected a file of recorded events") from error


def _split(name: str, data: bytes, first: int) -> Lines:
    columns = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(columns == NEWLINE)
    starts = np.concatenate([[0], ends[:-1] + 1])
    return Lines(name, columns, np.column_stack([starts, ends]).astype(np.int64), first)
