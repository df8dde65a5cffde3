"""Exploration: what is shown is as likely as it is said to be, and the same each time."""

from collections import Counter

import numpy as np
import pytest
from scipy import stats

from schemas.policies import Explore
from serving.exploration import explored

BY_SCORE = np.array([4, 2, 0, 3, 1])
REQUESTS = [f"r{n}" for n in range(20_000)]


def test_without_a_share_the_order_is_that_of_the_scores() -> None:
    shown, propensities = explored(BY_SCORE, Explore(), "r1")
    assert shown.tolist() == BY_SCORE.tolist()
    assert propensities == [1.0] * 5


def test_a_request_is_shown_the_same_each_time_that_it_is_answered() -> None:
    explore = Explore(share=0.7, depth=4)
    for request_id in REQUESTS[:100]:
        first, again = (explored(BY_SCORE, explore, request_id) for _ in range(2))
        assert first[0].tolist() == again[0].tolist()
        assert first[1] == again[1]


def test_items_are_where_they_are_as_often_as_their_propensities_say() -> None:
    share, depth = 0.3, 3
    places: Counter[tuple[int, int]] = Counter()
    said: dict[tuple[int, int], set[float]] = {}
    for request_id in REQUESTS:
        shown, propensities = explored(BY_SCORE, Explore(share=share, depth=depth), request_id)
        for rank, (item, propensity) in enumerate(zip(shown.tolist(), propensities, strict=True)):
            places[item, rank] += 1
            said.setdefault((item, rank), set()).add(propensity)
    assert all(len(one) == 1 for one in said.values())
    for place, (propensity,) in said.items():
        test = stats.binomtest(places[place], len(REQUESTS), propensity)
        assert test.pvalue > 1e-4, (place, places[place], propensity)
    for item in range(5):  # somewhere it is
        assert sum(next(iter(said[place])) for place in said if place[0] == item) == pytest.approx(1.0)


def test_weighed_by_propensities_what_was_logged_says_how_another_ranker_would_have_done() -> None:
    """The first place of a ranker that puts the third item first: its clicks, estimated from our log."""
    clicks = {4: 0.2, 2: 0.1, 0: 0.6}
    explore = Explore(share=0.5, depth=3)
    terms = []
    for request_id in REQUESTS:
        shown, propensities = explored(BY_SCORE, explore, request_id)
        terms.append(clicks[shown[0]] / propensities[0] if shown[0] == 0 else 0.0)
    deviation = np.std(terms) / np.sqrt(len(terms))
    assert abs(np.mean(terms) - clicks[0]) < 4 * deviation


def test_items_behind_the_depth_are_not_touched() -> None:
    for request_id in REQUESTS[:200]:
        shown, propensities = explored(BY_SCORE, Explore(share=1.0, depth=2), request_id)
        assert sorted(shown[:2].tolist()) == [2, 4]
        assert shown[2:].tolist() == BY_SCORE[2:].tolist()
        assert propensities == [0.5, 0.5, 1.0, 1.0, 1.0]


def test_a_list_shorter_than_the_depth_is_explored_whole() -> None:
    assert explored(BY_SCORE[:1], Explore(share=0.4), "r1")[1] == [1.0]
    assert set(explored(BY_SCORE[:2], Explore(share=0.4), "r1")[1]) <= {0.8, 0.2}


def test_who_is_explored_stays_in_as_the_share_grows() -> None:
    def moved(share: float) -> set[str]:
        explore = Explore(share=share, depth=5)
        return {r for r in REQUESTS[:2000] if explored(BY_SCORE, explore, r)[0].tolist() != BY_SCORE.tolist()}

    assert moved(0.1) < moved(0.3) < moved(0.8)
