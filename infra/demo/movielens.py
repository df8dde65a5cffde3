"""MovieLens-100K, read out of the wheel of recbole that carries it (`recbole.txt`, see `wheels.py`).

100,000 ratings of 1,682 films by 943 users in 1997 and 1998. Not for splitting or sampling: that is
`visits.py`.

F. Maxwell Harper and Joseph A. Konstan, "The MovieLens Datasets: History and Context", ACM TiiS 5(4), 2015.
"""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from infra.demo import wheels
from infra.demo.wheels import CACHE, Pin
from schemas.errors import HeadgateError

Ints = npt.NDArray[np.int64]

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


def pin(requirements: Path = PIN) -> Pin:
    """The wheel that holds the data."""
    return wheels.pin(requirements)


def fetch(cache: Path = CACHE) -> Path:
    """The wheel's path in `cache`, downloaded where need be. Raises `HeadgateError` where that cannot be
    done."""
    return wheels.fetch(PIN, cache)


def load(wheel: Path) -> MovieLens:
    """Reads the data set out of the wheel.

    Raises `HeadgateError` where it is not, byte for byte, the one that is pinned.
    """
    with wheels.opened(PIN, wheel) as archive:
        return read(archive)


def read(archive: zipfile.ZipFile) -> MovieLens:
    """The data set from an archive that is laid out as the wheel is.

    Raises `HeadgateError` that names file, line, what was found and what was expected.
    """
    return MovieLens(_ratings(archive), _users(archive), _items(archive))


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
