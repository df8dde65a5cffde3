"""How long work rests, so that what serves beside it has the processor."""

import time
from pathlib import Path

import pytest

from serving.pace import MOST, PIECE, Pace


@pytest.fixture
def rests(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that are slept."""
    found: list[float] = []
    monkeypatch.setattr(time, "sleep", found.append)
    return found


def work(seconds: float) -> None:
    """Keeps the processor busy."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def test_work_has_its_share_of_a_processor(tmp_path: Path, rests: list[float]) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"small")
    paced = Pace(file, share=0.2)
    for _ in range(5):
        work(0.01)
        paced.rest()
    assert min(rests) >= 4 * 0.01
    assert sum(rests) == pytest.approx(4 * 5 * 0.01, rel=0.5)


def test_rests_are_spread_over_the_file_and_have_an_end(tmp_path: Path, rests: list[float]) -> None:
    file = tmp_path / "model.onnx"
    with file.open("wb") as opened:
        opened.truncate(999 * PIECE)
    paced = Pace(file)
    for _ in range(10):
        work(0.005)
        paced.rest()
    assert rests == [pytest.approx(MOST / 1000)] * 10
