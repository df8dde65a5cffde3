"""One version in memory: however rows are cut, padded and divided among sessions, scores are the same."""

from collections.abc import Callable

import numpy as np
import onnxruntime as ort
import pytest

from schemas.errors import HeadgateError
from serving import runtime
from serving.devices import Device, Execution
from serving.repository import Package, Repository
from serving.runtime import MOST_ROWS, Arrays, BucketLane, Runtime
from serving.signature import Tensor
from tests import serving_models as models

BUCKETS = (8, 64, MOST_ROWS)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    root = tmp_path_factory.mktemp("models")
    models.add_version(root, "v1")
    return Repository(root).open(models.MODEL, "v1")


def one_session(package: Package) -> Runtime:
    return runtime.load(package)


def three_sessions(package: Package) -> Runtime:
    return runtime.load(package, Execution(devices=(Device("cpu"),) * 3))


def padded(package: Package) -> Runtime:
    session = ort.InferenceSession(package.onnx, providers=["CPUExecutionProvider"])
    score = Tensor("score", "tensor(float)", ["n", 1])
    return Runtime(package, [BucketLane(session, package.manifest, score, Device("cpu"), BUCKETS)])


def rows(count: int, first: int = 0) -> Arrays:
    items = (np.arange(first, first + count) % (models.ITEMS - 1)).reshape(-1, 1)
    return {"item": items, "context": np.full((count, models.WIDTH), first, np.float32)}


def expected(count: int, first: int = 0) -> np.ndarray:
    return np.log(models.scores()[rows(count, first)["item"][:, 0]]) + first


@pytest.mark.parametrize("count", [1, 7, 8, 9, 64, 65, 200, MOST_ROWS, MOST_ROWS + 1, 3 * MOST_ROWS + 5])
@pytest.mark.parametrize("load", [one_session, three_sessions, padded])
def test_scores_do_not_depend_on_how_rows_are_run(
    package: Package, load: Callable[[Package], Runtime], count: int
) -> None:
    assert load(package).score(rows(count)) == pytest.approx(expected(count), rel=1e-5)


def test_rows_that_fill_up_are_never_a_batchs_own(package: Package) -> None:
    loaded = padded(package)
    for count, first in ((60, 100), (3, 5), (61, 7)):
        assert loaded.score(rows(count, first)) == pytest.approx(expected(count, first), rel=1e-5)


@pytest.mark.parametrize("load", [one_session, three_sessions, padded])
def test_after_a_run_that_failed_the_next_one_is_right(
    package: Package, load: Callable[[Package], Runtime]
) -> None:
    loaded = load(package)
    bad = dict(rows(300))
    bad["item"] = np.full((300, 1), models.ITEMS + 5)
    with pytest.raises(Exception, match="indices element out of data bounds"):
        loaded.score(bad)
    assert loaded.score(rows(300)) == pytest.approx(expected(300), rel=1e-5)


def test_a_device_that_is_not_there_is_a_failed_load_and_not_a_slow_one(package: Package) -> None:
    with pytest.raises(
        HeadgateError, match=r"model\.onnx: CUDAExecutionProvider could not be used on device 7"
    ):
        runtime.load(package, Execution(devices=(Device("cuda", 7),)))
