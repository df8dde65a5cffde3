"""The small model that serving is measured with: the demo's MovieLens ranker."""

from infra.demo import models, movielens
from infra.demo.visits import HISTORY
from serving import publishing
from serving.repository import Batch, Repository
from tests.bench.serving_nets import Net

ITEMS = 1_682
SMALL = Net(models.MODEL, "MovieLens ranker, 1 MB", (models.STABLE, models.RETRAINED), ITEMS, HISTORY, 0)
BATCH = Batch(max=32, wait_ms=2)


def add(repository: Repository) -> None:
    """Puts the versions of `SMALL` into a repository. Trains them where that was never done here."""
    trained = Repository(models.repository(movielens.load(movielens.fetch()), seed=0))
    for version in SMALL.versions:
        publishing.add(repository, trained.open(SMALL.name, version).onnx, SMALL.name, version, batch=BATCH)
