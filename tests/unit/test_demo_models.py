"""The demo's three versions are what the demo says of them, as ONNX Runtime runs and a worker reads them."""

import tomllib
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime
import pytest
from scipy.optimize import minimize

from infra.demo import graph, models, movielens, offline, ranker, visits
from infra.demo.movielens import MovieLens
from infra.demo.offline import Judged
from infra.demo.ranker import Ranker
from infra.demo.visits import FIRST, SECOND, Act, Visits
from schemas.errors import HeadgateError
from schemas.records import Profile, Request
from serving.inputs import rows
from serving.repository import Repository

SEED = 1
VERSIONS = ("v1", "v2", "v3")


@pytest.fixture(scope="module")
def data() -> MovieLens:
    return movielens.load(movielens.fetch())


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def folder(data: MovieLens, cache: Path) -> Path:
    """The repository that all tests share."""
    return models.repository(data, SEED, cache)


@pytest.fixture(scope="module")
def retrained(data: MovieLens) -> Ranker:
    """v2 in numpy, fitted apart from the repository."""
    return ranker.fit(data, visits.before(data, SECOND), SEED)[0]


@pytest.fixture(scope="module")
def replayed(data: MovieLens) -> Visits:
    return visits.replayed(data, SECOND)


@pytest.fixture(scope="module")
def candidates(data: MovieLens, replayed: Visits) -> movielens.Ints:
    sampler = visits.Sampler(data, visits.popularity(data, visits.before(data, SECOND)))
    return sampler.draw(replayed, np.random.default_rng(2))


@pytest.fixture(scope="module")
def reached(data: MovieLens, folder: Path) -> dict[str, Judged]:
    return offline.compare(data, folder, seed=3, passes=1)[10]


def model_file(folder: Path, version: str) -> Path:
    return folder / "ranker" / version / "model.onnx"


def read_profile(folder: Path, version: str) -> Profile:
    return msgspec.json.decode((folder / "ranker" / version / "profile.json").read_bytes(), type=Profile)


def test_onnx_runtime_and_numpy_give_the_same_scores(
    retrained: Ranker, folder: Path, replayed: Visits, candidates: movielens.Ints
) -> None:
    assert np.any(replayed.seen == 0)
    for version, expected in (("v2", retrained), ("v3", retrained.shifted())):
        served = offline.scores_of(model_file(folder, version), replayed, candidates)
        scores = ranker.score(expected, replayed.history, candidates)
        np.testing.assert_allclose(served, scores, rtol=1e-4, atol=1e-6)


def test_scores_are_between_0_and_1_and_calibrated(
    folder: Path, replayed: Visits, candidates: movielens.Ints
) -> None:
    scores = offline.scores_of(model_file(folder, "v2"), replayed, candidates)
    assert scores.min() >= 0
    assert scores.max() <= 1
    rate = (replayed.relevant > 0).sum() / candidates.size
    assert scores.mean() == pytest.approx(rate, rel=0.1)


def test_a_request_gets_the_same_scores_alone_as_in_a_batch(
    folder: Path, replayed: Visits, candidates: movielens.Ints
) -> None:
    three = np.arange(3)
    together = offline.scores_of(model_file(folder, "v2"), replayed.take(three), candidates[three])
    alone = offline.scores_of(model_file(folder, "v2"), replayed.take(three[:1]), candidates[:1])
    np.testing.assert_allclose(together[0], alone[0], rtol=1e-5)


@pytest.mark.parametrize("unknown", [-1, 1683, 2**62])
def test_an_unknown_item_counts_as_no_item_and_does_not_fail_the_batch(folder: Path, unknown: int) -> None:
    model = onnxruntime.InferenceSession(model_file(folder, "v2"))
    history = np.zeros((2, visits.HISTORY), np.int64)
    history[:, 0] = [unknown, 0]
    (scores,) = model.run(["score"], {"history": history, "item": np.array([[unknown], [0]])})
    assert scores[0] == scores[1]


def test_versions_beat_popularity_by_far(reached: dict[str, Judged]) -> None:
    for version in ("v1", "v2"):
        assert reached[version].ctr > 1.4 * reached["popularity"].ctr
        assert reached[version].recall > 1.4 * reached["popularity"].recall


def test_v2_is_not_worse_than_v1(reached: dict[str, Judged]) -> None:
    assert reached["v2"].ctr > reached["v1"].ctr
    assert reached["v2"].recall > reached["v1"].recall


def test_v3_is_worse_than_v2_by_a_quarter_at_least(reached: dict[str, Judged]) -> None:
    assert reached["v3"].ctr < 0.75 * reached["v2"].ctr
    assert reached["v3"].recall < 0.75 * reached["v2"].recall


def test_a_shifted_model_gives_every_item_what_belongs_to_the_next(retrained: Ranker) -> None:
    right, wrong = retrained, retrained.shifted()
    np.testing.assert_array_equal(wrong.factors.item[7], right.factors.item[8])
    np.testing.assert_array_equal(wrong.factors.history[7], right.factors.history[8])
    assert (wrong.warm_bias[7], wrong.cold_bias[7]) == (right.warm_bias[8], right.cold_bias[8])


def test_the_same_seed_trains_the_same_model(retrained: Ranker, folder: Path) -> None:
    assert model_file(folder, "v2").read_bytes() == graph.build(retrained).SerializeToString()


@pytest.mark.parametrize(
    ("version", "origin"),
    [
        ("v1", "the first 80,000 ratings, seed 1"),
        ("v2", "the first 90,000 ratings, seed 1"),
        ("v3", "v2, its tables written without row 0"),
    ],
)
def test_the_manifest_says_what_a_version_is_made_from(folder: Path, version: str, origin: str) -> None:
    manifest = tomllib.loads((folder / "ranker" / version / "model.toml").read_text())
    assert manifest["model"]["version"] == version
    assert manifest["model"]["description"].endswith(f"made from {origin}")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_worker_can_open_every_version_and_read_the_replayed_inputs(
    data: MovieLens, folder: Path, version: str
) -> None:
    package = Repository(folder).open("ranker", version)
    visit = next(visits.replay(data, SECOND, seed=0))
    body = {
        "request_id": "r",
        "ts": 1_700_000_000_000,
        "model": "ranker",
        "items": visit.items,
        "inputs": visit.inputs,
    }
    request = msgspec.json.decode(msgspec.json.encode(body), type=Request)
    given = rows(request, package.manifest.inputs)
    model = onnxruntime.InferenceSession(package.onnx)
    (scores,) = model.run([package.manifest.output.name], given)
    assert scores.shape == (len(visit.items),)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_profile_describes_every_feature_that_requests_carry(
    data: MovieLens, folder: Path, version: str
) -> None:
    found = read_profile(folder, version)
    assert (found.model, found.version) == ("ranker", version)
    assert set(found.features) == set(next(visits.replay(data, SECOND, seed=0)).features)
    for distribution in found.features.values():
        assert len(distribution.counts) == len(distribution.edges or distribution.categories or []) + 1


@pytest.mark.parametrize(("version", "act"), [("v1", FIRST), ("v2", SECOND), ("v3", SECOND)])
def test_the_profile_counts_every_visit_that_the_version_learned_from_once(
    data: MovieLens, folder: Path, version: str, act: Act
) -> None:
    count = len(visits.cut(visits.before(data, act), 0).user)
    found = read_profile(folder, version)
    assert {sum(distribution.counts) for distribution in found.features.values()} == {count}


def test_replayed_scores_are_distributed_as_the_profile_says(
    folder: Path, replayed: Visits, candidates: movielens.Ints
) -> None:
    expected = read_profile(folder, "v2").score
    assert expected is not None
    assert expected.edges is not None
    scores = offline.scores_of(model_file(folder, "v2"), replayed, candidates).ravel()
    p = np.array(expected.counts) / sum(expected.counts)
    q = np.bincount(np.searchsorted(expected.edges, scores, side="right"), minlength=len(p)) / len(scores)
    assert np.sum((q - p) * np.log(q / p)) < 0.05


def test_a_repository_is_trained_once(data: MovieLens, folder: Path, cache: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    assert models.repository(data, SEED, cache) == folder
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == before
    assert [path.name for path in cache.iterdir()] == [folder.name]


def test_a_cache_that_cannot_be_written_is_named(data: MovieLens, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(HeadgateError, match=r"file/models-1-.*cannot keep the models there"):
        models.repository(data, SEED, tmp_path / "file")


def test_the_logistic_regression_is_the_one_that_scipy_finds() -> None:
    random = np.random.default_rng(0)
    inputs = random.normal(size=(500, 3))
    outcomes = random.random(500) < 1 / (1 + np.exp(-inputs @ np.array([1.0, -2.0, 0.5])))

    def loss(weights: visits.Floats) -> float:
        logits = inputs @ weights
        return float(np.sum(np.logaddexp(0, logits) - outcomes * logits) + np.sum(weights**2) / 2)

    expected = minimize(loss, np.zeros(3), tol=1e-10).x
    np.testing.assert_allclose(ranker.logistic(inputs, outcomes), expected, atol=1e-5)


def test_the_largest_eigenvalues_are_those_it_was_made_of() -> None:
    random = np.random.default_rng(0)
    vectors, _ = np.linalg.qr(random.normal(size=(200, 200)))
    values = np.array([(-0.8) ** power for power in range(200)])
    found, directions = ranker.largest((vectors * values) @ vectors.T, 5, random)
    np.testing.assert_allclose(found, values[:5], rtol=1e-6)
    np.testing.assert_allclose(np.abs(np.sum(directions * vectors[:, :5], axis=0)), 1.0, rtol=1e-6)


def test_ctr_and_recall_are_ratios_of_sums() -> None:
    shown = Visits(
        user=np.array([1, 2]),
        second=np.array([0, 0]),
        seen=np.array([0, 0]),
        history=np.zeros((2, visits.HISTORY), np.int64),
        relevant=np.array([[1, 0, 0, 0, 0], [2, 3, 4, 0, 0]]),
    )
    items = np.array([[1, 2, 3, 4], [1, 2, 3, 4]])
    scores = np.array([[0.9, 0.8, 0.1, 0.1], [0.9, 0.8, 0.1, 0.0]])
    found = offline.judge(scores, items, shown, 2)
    assert (found.ctr, found.recall) == (2 / 4, 2 / 4)


def test_half_the_effect_needs_four_times_the_requests_and_a_tenth_of_the_traffic_nearly_three_times() -> (
    None
):
    base = offline.requests_needed(spread=0.2, effect=0.1, share=0.5)
    assert offline.requests_needed(spread=0.2, effect=0.05, share=0.5) == pytest.approx(4 * base)
    assert offline.requests_needed(spread=0.2, effect=0.1, share=0.1) == pytest.approx(2.78 * base, rel=0.01)
