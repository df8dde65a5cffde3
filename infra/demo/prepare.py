"""`python -m infra.demo.prepare DIR`: the demo's data and models, ready in DIR, for images that are to run
without a network. DIR/models is the model repository.
"""

import sys
from pathlib import Path

from infra.demo import models, movielens

SEED = 0
"""Of the models and of the shop's visits."""

REPOSITORY = "models"
"""The name under which the repository is found, whatever it was made from."""


def prepare(folder: Path) -> Path:
    """Fetches the data into `folder`, trains the models there, and answers their repository.

    Raises `HeadgateError` where the data cannot be had or the folder cannot be written.
    """
    trained = models.repository(movielens.load(movielens.fetch(folder)), SEED, folder)
    link = folder / REPOSITORY
    link.unlink(missing_ok=True)
    link.symlink_to(trained.name)
    return link


if __name__ == "__main__":
    print(prepare(Path(sys.argv[1])))
