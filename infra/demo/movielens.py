"""MovieLens-100K, read out of the wheel of recbole that carries it.

100,000 ratings of 1,682 films by 943 users in 1997 and 1998.

The wheel is downloaded once, by pip, pinned by its hash (`recbole.txt`), into a cache beside the environment.
It is never installed or unpacked, and nothing of it is imported. Not for splitting or sampling: that is
`visits.py`.

F. Maxwell Harper and Joseph A. Konstan, "The MovieLens Datasets: History and Context", ACM TiiS 5(4), 2015.
"""

import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.errors import HeadgateError

Ints = npt.NDArray[np.int64]

CACHE = Path(sys.prefix) / "data"
"""Beside the environment: it goes when that goes, and is downloaded once for all of its runs."""

PIN = Path(__file__).with_name("recbole.txt")
FOLDER = "recbole/dataset_example/ml-100k"
RATINGS = ("ml-100k.inter", ("user_id:token", "item_id:token", "rating:float", "timestamp:float"))
ITEMS = ("ml-100k.item", ("item_id:token", "movie_title:token_seq", "release_year:token", "class:token_seq"))
USERS = ("ml-100k.user", ("user_id:token", "age:token", "gender:token", "occupation:token", "zip_code:token"))


class Ratings(NamedTuple):
    """Who rated what, when, as columns of one length, in order of time. `second` is epoch seconds, UTC.

    How many stars were given is left out: that somebody rated a film at all is what is predicted.
    """

    user: Ints
    item: Ints
    second: Ints

    def rows(self, start: int, stop: int) -> "Ratings":
        """The ratings from the `start`-th up to the `stop`-th."""
        return Ratings(self.user[start:stop], self.item[start:stop], self.second[start:stop])


class User(NamedTuple):
    """What a user said of themselves."""

    age: int
    gender: str
    occupation: str


class Item(NamedTuple):
    """A film. `year` is None where the data has none (two of them)."""

    title: str
    year: int | None


class MovieLens(NamedTuple):
    """The whole data set. Users are numbered from 1 to 943, items from 1 to 1682."""

    ratings: Ratings
    users: dict[int, User]
    items: dict[int, Item]


class Pin(NamedTuple):
    """The one file that is trusted."""

    name: str
    version: str
    sha256: str

    @property
    def wheel(self) -> str:
        """The wheel's file name."""
        return f"{self.name}-{self.version}-py3-none-any.whl"


def pin(requirements: Path = PIN) -> Pin:
    """The pinned wheel, from a requirements file with one `name==version --hash=sha256:…`."""
    found = re.search(r"^(\S+)==(\S+) --hash=sha256:([0-9a-f]{64})$", requirements.read_text(), re.MULTILINE)
    if found is None:
        raise HeadgateError(f"{requirements}: found no line name==version --hash=sha256:…, expected one")
    return Pin(*found.groups())


def fetch(cache: Path = CACHE) -> Path:
    """The wheel's path in `cache`; downloaded where it is not there yet, or is not what was pinned.

    Raises `HeadgateError` where it can neither be found nor be downloaded.
    """
    pinned = pin()
    wheel = cache / pinned.wheel
    if wheel.exists() and _sha256(wheel) == pinned.sha256:
        return wheel
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            _download(Path(folder))
            # Renaming is atomic: of two processes that download at once, neither sees half a file.
            (Path(folder) / pinned.wheel).replace(wheel)
    except OSError as error:
        raise HeadgateError(f"{wheel}: cannot keep the data there ({error}); is it writable?") from error
    return wheel


def load(wheel: Path) -> MovieLens:
    """Reads the data set out of the wheel.

    Raises `HeadgateError` where it is not, byte for byte, the one that is pinned.
    """
    expected = pin().sha256
    try:
        found = _sha256(wheel)
        if found != expected:
            raise HeadgateError(
                f"{wheel}: found sha256 {found}, expected {expected}; delete it, it is downloaded again"
            )
        with zipfile.ZipFile(wheel) as archive:
            return read(archive)
    except (OSError, zipfile.BadZipFile) as error:
        raise HeadgateError(f"{wheel}: {error}") from error


def read(archive: zipfile.ZipFile) -> MovieLens:
    """The data set from an archive that is laid out as the wheel is.

    Raises `HeadgateError` that names file, line, what was found and what was expected.
    """
    return MovieLens(_ratings(archive), _users(archive), _items(archive))


def _download(folder: Path) -> None:
    options = ("--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes")
    command = [sys.executable, "-m", "pip", "download", *options, "-r", str(PIN), "--dest", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["no reason given"]
        raise HeadgateError(f"the demo's data ({PIN.name}) cannot be downloaded: pip says: {said[-1]}")


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _ratings(archive: zipfile.ZipFile) -> Ratings:
    rows = [
        (_int(where, second), _int(where, user), _int(where, item))
        for where, (user, item, _, second) in _rows(archive, *RATINGS)
    ]
    # Ratings of one second have no order of their own; by user and item it is at least always the same.
    second, user, item = np.array(sorted(rows), np.int64).T
    return Ratings(user, item, second)


def _users(archive: zipfile.ZipFile) -> dict[int, User]:
    return {
        _int(where, user): User(_int(where, age), gender, occupation)
        for where, (user, age, gender, occupation, _) in _rows(archive, *USERS)
    }


def _items(archive: zipfile.ZipFile) -> dict[int, Item]:
    return {
        _int(where, item): Item(title, int(year) if year.isdigit() else None)
        for where, (item, title, year, _) in _rows(archive, *ITEMS)
    }


def _rows(archive: zipfile.ZipFile, name: str, columns: tuple[str, ...]) -> Iterator[tuple[str, list[str]]]:
    """Where each line stands, and its tab-separated fields; the header line is checked and left out."""
    path = f"{FOLDER}/{name}"
    try:
        lines = archive.read(path).decode().splitlines()
    except (KeyError, UnicodeDecodeError) as error:
        raise HeadgateError(f"{archive.filename}: {path}: {error}") from error
    for number, line in enumerate(lines, start=1):
        where, fields = f"{archive.filename}: {path}:{number}", line.split("\t")
        if len(fields) != len(columns):
            raise HeadgateError(f"{where}: found {len(fields)} fields, expected {len(columns)}: {columns}")
        if number > 1:
            yield where, fields
        elif tuple(fields) != columns:
            raise HeadgateError(f"{where}: found columns {tuple(fields)}, expected {columns}")


def _int(where: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise HeadgateError(f"{where}: found {text!r}, expected a whole number") from None
