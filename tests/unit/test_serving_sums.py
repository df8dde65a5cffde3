"""Checksums of model files: when one that was taken still holds, and which are taken ahead."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

import pytest

from schemas.errors import HeadgateError
from serving import runtime
from serving.pace import Rest
from serving.repository import Package, Repository, checksum
from serving.sums import FEW, SETTLED, Ahead, Sums
from tests import serving_models as models

PATIENCE = 10.0


class Taken:
    """Takes sums, and notes of which files; `then` happens after each."""

    def __init__(self, then: Callable[[Path], None] = lambda _: None) -> None:
        self.files: SimpleQueue[Path] = SimpleQueue()
        self._then = then

    def __call__(self, file: Path, rest: Rest) -> str:
        found = checksum(file, rest)
        self._then(file)
        self.files.put(file)
        return found


def later() -> float:
    """A clock by which everything that has been written so far has settled."""
    return time.time() + 2 * SETTLED


def summed(repository: Path, version: str) -> Package:
    """A version whose manifest has a checksum."""
    folder = models.add_version(repository, version)
    manifest = folder / "model.toml"
    line = f'[model]\nsha256 = "{checksum(folder / "model.onnx")}"'
    manifest.write_text(manifest.read_text().replace("[model]", line))
    return Repository(repository).open(models.MODEL, version)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "model.onnx"
    made.write_bytes(b"weights")
    return made


def test_a_sum_is_taken_once_for_a_file_as_it_is(file: Path) -> None:
    taken = Taken()
    sums = Sums(later, taken)
    assert sums.of(file) == sums.of(file) == checksum(file)
    assert taken.files.qsize() == 1


def test_a_file_that_is_written_to_is_summed_anew_even_if_its_times_are_set_back(file: Path) -> None:
    sums = Sums(later)
    sums.of(file)
    times = file.stat()
    file.write_bytes(b"Weights")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert sums.of(file) == checksum(file)


def test_a_file_that_takes_anothers_place_is_summed_anew(file: Path, tmp_path: Path) -> None:
    sums = Sums(later)
    sums.of(file)
    other = tmp_path / "other"
    other.write_bytes(b"Weights")
    times = file.stat()
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.rename(file)
    assert sums.of(file) == checksum(file)


def test_the_sum_of_a_file_that_was_written_just_now_is_not_remembered(file: Path) -> None:
    taken = Taken()
    sums = Sums(time.time, taken)
    assert sums.settles_in(file) > 0
    sums.of(file)
    sums.of(file)
    assert taken.files.qsize() == 2


def test_the_sum_of_a_file_that_changes_meanwhile_is_not_remembered(file: Path) -> None:
    taken = Taken(then=lambda changed: changed.touch())
    sums = Sums(later, taken)
    sums.of(file)
    sums.of(file)
    assert taken.files.qsize() == 2


def test_a_load_uses_a_sum_that_is_known(tmp_path: Path) -> None:
    taken = Taken()
    sums = Sums(later, taken)
    package = summed(tmp_path, "v1")
    sums.check(package)
    runtime.load(package, sums=sums)
    assert taken.files.qsize() == 1


def test_a_file_that_changes_while_it_is_loaded_is_not_served(tmp_path: Path) -> None:
    package = summed(tmp_path, "v1")
    with pytest.raises(HeadgateError, match=r"model\.onnx: found another file after loading it than before"):
        runtime.load(package, sums=Sums(later, Taken(then=lambda changed: changed.touch())))


def test_what_appears_is_summed_ahead_and_of_what_is_there_the_last_ones(tmp_path: Path) -> None:
    for number, version in enumerate(["v9", "v10", "v8", "v7"]):
        for part in summed(tmp_path, version).folder.iterdir():
            os.utime(part, (1_700_000_000 + number, 1_700_000_000 + number))
    taken = Taken()
    ahead = Ahead(Repository(tmp_path), Sums(later, taken), lambda: None)
    ahead.look({models.MODEL: ["v10", "v7", "v8", "v9"]})
    summed(tmp_path, "v11")
    ahead.look({models.MODEL: ["v10", "v11", "v7", "v8", "v9"]})
    ahead.start()
    found = [taken.files.get(timeout=PATIENCE).parent.name for _ in range(FEW + 1)]
    assert found == ["v7", "v8", "v10", "v11"]


def test_what_cannot_be_read_holds_up_no_other(tmp_path: Path) -> None:
    summed(tmp_path, "v1")
    taken = Taken()
    ahead = Ahead(Repository(tmp_path), Sums(later, taken), lambda: None)
    ahead.look({models.MODEL: []})
    ahead.look({models.MODEL: ["nowhere"]})
    ahead.look({models.MODEL: ["nowhere", "v1"]})
    ahead.start()
    assert taken.files.get(timeout=PATIENCE).parent.name == "v1"
