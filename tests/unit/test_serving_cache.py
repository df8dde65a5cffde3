"""Kept results: what counts as the same request, and when a result is forgotten."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from schemas.records import ENCODER, Request
from serving import runtime
from serving.cache import OVERHEAD, Cache
from serving.repository import Repository
from serving.runtime import Runtime
from tests import serving_models as models

SCORES = np.array([0.5, 0.25, 0.125], np.float32)
MEBIBYTE = 1 << 20


class Clock:
    """Monotonic seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> Cache:
    return Cache(MEBIBYTE, 60.0, clock)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for version in ("v1", "v2"):
        models.add_version(root, version)
    return root


def load(root: Path, version: str) -> Runtime:
    return runtime.load(Repository(root).open(models.MODEL, version))


@pytest.fixture(scope="module")
def v1(root: Path) -> Runtime:
    return load(root, "v1")


def request(inputs: dict[str, object] | None = None, items: int = 3) -> Request:
    record = {
        "request_id": "r",
        "ts": 1_700_000_000_000,
        "model": models.MODEL,
        "items": [*range(items)],
        "inputs": models.inputs([1, 2, 3]) if inputs is None else inputs,
    }
    return msgspec.json.decode(ENCODER.encode(record), type=Request)


def test_the_same_inputs_are_the_same_request(cache: Cache, v1: Runtime) -> None:
    cache.put(cache.key(v1, request()), SCORES)
    found = cache.get(cache.key(v1, request()))
    assert found is not None
    assert found.tolist() == SCORES.tolist()


@pytest.mark.parametrize(
    "other",
    [
        request(models.inputs([1, 2, 4])),
        request(models.inputs([1, 2, 3], context=(0, 0, 0, 1))),
        request({"item": [[1], [2], [3]]}),
        request({}),
        request(items=4),
        # The same bytes in all, but divided otherwise between the inputs.
        request({"item": [[1], [2], [3], 0], "context": [0, 0, 0]}),
    ],
)
def test_other_inputs_or_rows_are_another_request(cache: Cache, v1: Runtime, other: Request) -> None:
    cache.put(cache.key(v1, request()), SCORES)
    assert cache.get(cache.key(v1, other)) is None


def test_inputs_that_the_model_does_not_read_do_not_matter(cache: Cache, v1: Runtime) -> None:
    cache.put(cache.key(v1, request()), SCORES)
    more = models.inputs([1, 2, 3]) | {"trace": "abc"}
    assert cache.get(cache.key(v1, request(more))) is not None


def test_another_version_has_results_of_its_own(cache: Cache, v1: Runtime, root: Path) -> None:
    cache.put(cache.key(v1, request()), SCORES)
    assert cache.get(cache.key(load(root, "v2"), request())) is None


def test_a_version_that_is_loaded_again_starts_with_nothing(cache: Cache, v1: Runtime, root: Path) -> None:
    cache.put(cache.key(v1, request()), SCORES)
    assert cache.get(cache.key(load(root, "v1"), request())) is None


def test_a_result_is_forgotten_after_its_time(cache: Cache, v1: Runtime, clock: Clock) -> None:
    key = cache.key(v1, request())
    cache.put(key, SCORES)
    clock.now = 59.9
    assert cache.get(key) is not None
    clock.now = 60.0
    assert cache.get(key) is None
    assert cache.bytes == 0


def test_the_least_recently_used_go_first(v1: Runtime, clock: Clock) -> None:
    cache = Cache(3 * (OVERHEAD + SCORES.nbytes), 60.0, clock)
    keys = [cache.key(v1, request(models.inputs([n, 0, 0]))) for n in range(4)]
    for key in keys[:3]:
        cache.put(key, SCORES)
    cache.get(keys[0])
    cache.put(keys[3], SCORES)
    assert [cache.get(key) is not None for key in keys] == [True, False, True, True]


def test_it_never_holds_more_bytes_than_it_may(v1: Runtime, clock: Clock) -> None:
    cache = Cache(10_000, 60.0, clock)
    for n in range(200):
        cache.put(cache.key(v1, request(models.inputs([n, 0, 0]))), np.zeros(n % 100 + 1, np.float32))
        assert cache.bytes <= 10_000
    assert cache.bytes > 5_000


def test_a_result_that_alone_is_too_large_is_not_kept(v1: Runtime, clock: Clock) -> None:
    cache = Cache(OVERHEAD, 60.0, clock)
    cache.put(cache.key(v1, request()), SCORES)
    assert cache.bytes == 0


def test_what_is_kept_does_not_change_with_the_run_that_it_came_from(cache: Cache, v1: Runtime) -> None:
    scores, key = SCORES.copy(), cache.key(v1, request())
    cache.put(key, scores)
    scores[:] = 0
    found = cache.get(key)
    assert found is not None
    assert found.tolist() == SCORES.tolist()


def test_a_cache_of_no_bytes_is_off(clock: Clock) -> None:
    assert not Cache(0, 60.0, clock).is_on
