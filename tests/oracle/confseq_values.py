"""Boundaries of the one-sided normal mixture as the authors' own library computes them: `confseq.json` was
written by `python -m tests.oracle.confseq_values` where confseq 0.0.11 is installed.

It has no wheels, and building it needs Boost's headers and, for this Python, a newer pybind11 than it asks
for (`pip install 'pybind11>=2.10' scikit-build cmake ninja`, then `pip install --no-build-isolation
confseq`); so its values are kept instead.

S. Howard, A. Ramdas, J. McAuliffe, J. Sekhon: "Time-uniform, nonparametric, nonasymptotic confidence
sequences", Annals of Statistics 2021; https://github.com/gostevehoward/confseq.
"""

import json
from itertools import product
from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).with_name("confseq.json")
ALPHAS = (0.2, 0.05, 0.05 / 3, 0.01, 0.0005)
TUNED = (100.0, 3_600.0, 250_000.0)
SPREAD = (0.05, 0.25, 1.0, 4.0, 100.0)


class Value(NamedTuple):
    """The boundary of a sum of unit variance at `samples`, of a mixture tightest at `tuned`."""

    alpha: float
    tuned: float
    samples: float
    boundary: float


def read() -> list[Value]:
    """All of them."""
    return [Value(*row) for row in json.loads(FILE.read_text())]


def main() -> None:
    """Writes the file."""
    from confseq.boundaries import normal_mixture_bound

    rows = [
        (alpha, tuned, tuned * part, normal_mixture_bound(tuned * part, alpha, tuned, alpha, True))
        for alpha, tuned, part in product(ALPHAS, TUNED, SPREAD)
    ]
    FILE.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


if __name__ == "__main__":
    main()
