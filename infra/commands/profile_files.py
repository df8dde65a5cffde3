"""Files that a reference profile can be made from: recorded events as JSON lines, or a table as CSV.

A line of JSON is a record of `inference.requests` or `inference.predictions`, by itself or as `headgate
replay` takes it (`{"topic": …, "value": {…}}`). A CSV has a column a feature, under its name; one that is
called `score` has scores.
"""

import csv
import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import msgspec

from infra.commands.profile_sample import Sample
from schemas import topics
from schemas.errors import HeadgateError
from schemas.records import SCORE, Codec, Feature, Prediction, Request

STANDARD_INPUT = Path("-")

PREDICTIONS: Codec[Prediction] = Codec(Prediction)
REQUESTS: Codec[Request] = Codec(Request)


class Line(msgspec.Struct):
    """What a line of JSON may say of what it is."""

    topic: str | None = None
    value: msgspec.Raw = msgspec.Raw()
    status: msgspec.Raw = msgspec.Raw()


class Table(msgspec.Struct):
    """The columns of a CSV."""

    features: dict[str, list[Feature]]
    scores: list[float]


def is_table(file: Path) -> bool:
    """Whether it is read as CSV: by its name."""
    return file.suffix.lower() == ".csv"


def read_events(file: Path, sample: Sample) -> Iterator[str]:
    """Puts the file's records into the sample; answers what is wrong with those that are none, line by line.

    Raises `HeadgateError` where the file cannot be read.
    """
    with _opened(file) as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                _take(line.encode(), sample)
            except ValueError as error:
                yield f"{file}:{number}: {error}"


def requests_of(file: Path) -> Iterator[Request]:
    """The requests among a file's records, in their order. Raises `HeadgateError` for a line that is no
    record, and where the file cannot be read.
    """
    with _opened(file) as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                about = msgspec.json.decode(line, type=Line)
                if about.topic == topics.REQUESTS.name:
                    yield REQUESTS.decode(bytes(about.value))
                elif about.topic is None and not bytes(about.status):
                    yield REQUESTS.decode(line.encode())
            except ValueError as error:
                raise HeadgateError(f"{file}:{number}: {error}; expected a request as JSON") from error


def _take(line: bytes, sample: Sample) -> None:
    about = msgspec.json.decode(line, type=Line)
    value = line if about.topic is None else bytes(about.value)
    if about.topic == topics.PREDICTIONS.name or (about.topic is None and bytes(about.status)):
        sample.prediction(PREDICTIONS.decode(value))
    elif about.topic in (None, topics.REQUESTS.name):
        sample.request(REQUESTS.decode(value))


def read_table(file: Path) -> Table:
    """A CSV's columns. One is of numbers if every cell with anything in it is one, of true and false
    likewise, else of words; an empty cell is a missing value.

    Raises `HeadgateError` for a file that is none.
    """
    with _opened(file) as lines:
        reader = csv.reader(lines)
        try:
            names = next(reader, [])
            rows = list(reader)
        except csv.Error as error:
            raise HeadgateError(
                f"{file}:{reader.line_num}: {error}; expected comma-separated values"
            ) from error
    if len(set(names)) < len(names) or "" in names:
        raise HeadgateError(f"{file}:1: found {names}, expected a name for each column, each only once")
    for number, row in enumerate(rows, 2):
        if len(row) != len(names):
            raise HeadgateError(
                f"{file}:{number}: found {len(row)} cells, expected {len(names)}, one a column"
            )
    columns: Mapping[str, list[Feature]] = {
        name: _typed([row[place].strip() for row in rows]) for place, name in enumerate(names)
    }
    scores = columns.get(SCORE, [])
    if any(isinstance(score, str | bool) for score in scores):
        raise HeadgateError(f"{file}: column {SCORE}: found words, expected numbers")
    return Table(
        features={name: values for name, values in columns.items() if name != SCORE},
        scores=[float(score) for score in scores if score is not None],
    )


def _typed(cells: Iterable[str]) -> list[Feature]:
    cells = list(cells)
    numbers = [_number(cell) for cell in cells]
    if all(number is not None or not cell for cell, number in zip(cells, numbers, strict=True)):
        return [None if number is None or not math.isfinite(number) else number for number in numbers]
    flags = {"true": True, "false": False, "": None}
    if all(cell.lower() in flags for cell in cells):
        return [flags[cell.lower()] for cell in cells]
    return [cell or None for cell in cells]


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


@contextmanager
def _opened(file: Path) -> Iterator[TextIO]:
    if file == STANDARD_INPUT:
        yield sys.stdin
        return
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            yield lines
    except OSError as error:
        raise HeadgateError(f"{file}: {error.strerror}; expected JSON lines or a CSV") from error
    except UnicodeDecodeError as error:
        raise HeadgateError(f"{file}: {error}; expected UTF-8") from error
