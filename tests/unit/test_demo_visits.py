"""The replay shows the last fifth of the ratings, in two acts, to users who choose among unknown films."""

from itertools import islice

import numpy as np
import pytest

from infra.demo import movielens, visits
from infra.demo.movielens import MovieLens
from infra.demo.visits import CANDIDATES, FIRST, HISTORY, LENGTH, SECOND, Act, Visit, Visits


@pytest.fixture(scope="module")
def data() -> MovieLens:
    return movielens.load(movielens.fetch())


@pytest.fixture(scope="module")
def replayed(data: MovieLens) -> Visits:
    return visits.replayed(data, SECOND)


@pytest.fixture(scope="module")
def two_passes(data: MovieLens, replayed: Visits) -> list[Visit]:
    return list(islice(visits.replay(data, SECOND, seed=5), 2 * len(replayed.user)))


@pytest.fixture(scope="module")
def one_pass(two_passes: list[Visit]) -> list[Visit]:
    return two_passes[: len(two_passes) // 2]


def rated_before(data: MovieLens, user: int, item: int) -> list[int]:
    """What `user` rated before `item`, the latest first: the plain way."""
    items = [
        i for u, i in zip(data.ratings.user.tolist(), data.ratings.item.tolist(), strict=True) if u == user
    ]
    return items[: items.index(item)][::-1]


@pytest.mark.parametrize(("act", "known", "end"), [(FIRST, 80_000, 90_000), (SECOND, 90_000, 100_000)])
def test_every_rating_of_an_act_is_relevant_in_one_visit_and_comes_after_all_that_training_sees(
    data: MovieLens, act: Act, known: int, end: int
) -> None:
    replayed, seen = visits.replayed(data, act), visits.before(data, act)
    user = np.repeat(replayed.user, LENGTH)
    found = [pair for pair in zip(user.tolist(), replayed.relevant.ravel().tolist(), strict=True) if pair[1]]
    shown = data.ratings.rows(known, end)
    assert sorted(found) == sorted(zip(shown.user.tolist(), shown.item.tolist(), strict=True))
    assert len(seen.item) == known
    assert seen.second.max() <= replayed.second.min()


@pytest.mark.parametrize(("act", "expected"), [(FIRST, (2148, 197)), (SECOND, (2146, 166))])
def test_the_acts_have_so_many_visits_of_so_many_users(
    data: MovieLens, act: Act, expected: tuple[int, int]
) -> None:
    replayed = visits.replayed(data, act)
    assert (len(replayed.user), len(set(replayed.user.tolist()))) == expected


def test_history_is_what_the_user_rated_last_before_the_visit(data: MovieLens, replayed: Visits) -> None:
    for row in range(0, len(replayed.user), 150):
        before = rated_before(data, int(replayed.user[row]), int(replayed.relevant[row, 0]))
        expected = before[:HISTORY] + [0] * (HISTORY - len(before))
        assert replayed.history[row].tolist() == expected
        assert replayed.seen[row] == len(before)


def test_some_users_come_for_the_first_time(replayed: Visits) -> None:
    cold = replayed.seen == 0
    assert 0.03 < cold.mean() < 0.04
    assert np.all(replayed.history[cold] == 0)


def test_a_visit_ends_after_half_an_hour_of_silence() -> None:
    ratings = movielens.Ratings(
        user=np.array([1, 1, 1, 2]), item=np.array([10, 11, 12, 13]), second=np.array([0, 1800, 3601, 3601])
    )
    found = visits.cut(ratings, 0)
    assert found.relevant.tolist() == [[10, 11, 0, 0, 0], [12, 0, 0, 0, 0], [13, 0, 0, 0, 0]]
    assert found.seen.tolist() == [0, 2, 0]


def test_candidates_are_forty_different_items(one_pass: list[Visit]) -> None:
    assert all(len(set(visit.items)) == len(visit.items) == CANDIDATES for visit in one_pass)
    assert all(0 not in visit.items for visit in one_pass)


def test_all_relevant_items_are_among_the_candidates(one_pass: list[Visit]) -> None:
    assert all(visit.relevant and visit.relevant <= set(visit.items) for visit in one_pass)
    assert sum(len(visit.relevant) for visit in one_pass) == 10_000


def test_the_other_candidates_are_never_rated_by_that_user(data: MovieLens, replayed: Visits) -> None:
    sampler = visits.Sampler(data, visits.popularity(data, visits.before(data, SECOND)))
    candidates = sampler.draw(replayed, np.random.default_rng(0))
    rated = set(zip(data.ratings.user.tolist(), data.ratings.item.tolist(), strict=True))
    for user, items, relevant in zip(
        *(a.tolist() for a in (replayed.user, candidates, replayed.relevant)), strict=True
    ):
        assert {item for item in items if (user, item) in rated} == set(relevant) - {0}


def test_the_place_of_a_candidate_does_not_tell_that_it_is_relevant(one_pass: list[Visit]) -> None:
    relevant = np.array([[item in visit.relevant for item in visit.items] for visit in one_pass])
    expected = relevant.mean()
    error = np.sqrt(expected * (1 - expected) / len(relevant))
    assert np.abs(relevant.mean(axis=0) - expected).max() < 4.5 * error


def test_every_visit_is_a_user_of_its_own_in_all_acts_and_passes(
    data: MovieLens, two_passes: list[Visit]
) -> None:
    shown = [*islice(visits.replay(data, FIRST, seed=5), 3000), *two_passes]
    assert len({visit.user for visit in shown}) == len(shown)


def test_the_next_pass_has_the_same_visits_with_other_candidates(two_passes: list[Visit]) -> None:
    one, other = two_passes[: len(two_passes) // 2], two_passes[len(two_passes) // 2 :]

    def known(part: list[Visit]) -> list[tuple[list[int], list[int]]]:
        return sorted((visit.inputs["history"][0], sorted(visit.relevant)) for visit in part)

    assert known(one) == known(other)
    assert {frozenset(visit.items) for visit in one}.isdisjoint(frozenset(visit.items) for visit in other)


def test_the_same_seed_replays_the_same_and_another_does_not(data: MovieLens, one_pass: list[Visit]) -> None:
    assert list(islice(visits.replay(data, SECOND, seed=5), 1000)) == one_pass[:1000]
    assert next(visits.replay(data, SECOND, seed=6)).items != one_pass[0].items


def test_inputs_are_one_history_for_all_items_and_one_row_an_item(one_pass: list[Visit]) -> None:
    visit = one_pass[0]
    assert [len(row) for row in visit.inputs["history"]] == [HISTORY]
    assert visit.inputs["item"] == [[item] for item in visit.items]


def test_features_are_those_of_the_user_the_hour_and_the_candidates(data: MovieLens) -> None:
    visit = Visits(
        user=np.array([1]),
        second=np.array([875071561]),
        seen=np.array([3]),
        history=np.zeros((1, HISTORY), np.int64),
        relevant=np.zeros((1, LENGTH), np.int64),
    )
    known = visits.before(data, FIRST).item
    assert visits.features(data, visit, np.array([[1, 2]])) == {
        "age": [24.0],
        "gender": ["M"],
        "occupation": ["technician"],
        "hour": [3.0],  # 1997-09-24 03:26:01 UTC
        "history_length": [3.0],
        "candidate_popularity": [(np.sum(known == 1) + np.sum(known == 2)) / 2],
        "candidate_year": [1995.0],
    }
