"""The American Community Survey of Massachusetts, 2015 to 2018: whether people were employed, and what a
classifier trained on 2014 took for the chance of it. As it lies inside the wheel of nannyml.

Frances Ding, Moritz Hardt, John Miller and Ludwig Schmidt, "Retiring Adult: New Datasets for Fair Machine
Learning", NeurIPS 2021.
"""

import io
import zipfile
from pathlib import Path
from typing import NamedTuple

from pyarrow import parquet

from infra.demo import wheels

PIN = Path(__file__).with_name("nannyml.txt")
FOLDER = "nannyml/datasets/data"
NUMBERS = ("AGEP",)
WORDS = ("SCHL", "MAR", "RELP", "MIG", "SEX", "RAC1P")
"""Age; school, marital status, relationship, mobility, sex and race as codes."""


class Person(NamedTuple):
    """A row of the survey. `score` is the classifier's chance of being employed."""

    year: int
    score: float
    employed: bool
    features: dict[str, float | str]


class Census(NamedTuple):
    """`reference` is what the classifier was checked with (2015), `analysis` what came later, by year."""

    reference: list[Person]
    analysis: list[Person]


def load(every: int) -> Census:
    """Every so manieth row. Raises `HeadgateError` where the wheel cannot be had."""
    columns = ["id", "year", "predicted_probability", *NUMBERS, *WORDS]
    with wheels.opened(PIN, wheels.fetch(PIN)) as archive:
        reference = _rows(archive, "reference", [*columns, "employed"], every)
        analysis = _rows(archive, "analysis", columns, every)
        target = _rows(archive, "analysis_target", ["id", "employed"], every)
    employed = {row["id"]: row["employed"] for row in target}
    return Census(
        [_person(row, row["employed"]) for row in reference],
        [_person(row, employed[row["id"]]) for row in analysis],
    )


def _rows(
    archive: zipfile.ZipFile, name: str, columns: list[str], every: int
) -> list[dict[str, float | str]]:
    content = io.BytesIO(archive.read(f"{FOLDER}/employment_MA_{name}.pq"))
    table = parquet.read_table(content, columns=columns)
    rows: list[dict[str, float | str]] = table.take(list(range(0, table.num_rows, every))).to_pylist()
    return rows


def _person(row: dict[str, float | str], employed: float | str) -> Person:
    features = {name: row[name] for name in (*NUMBERS, *WORDS)}
    return Person(int(row["year"]), float(row["predicted_probability"]), employed == 1, features)
