"""Features and scores in the bins of a version's reference profile."""

from schemas.records import Distribution, Pane, Profile
from tests.oracle.desk import NOON, PANE, POLICY, SECOND, Desk

PROFILE = Profile(
    model="ranker",
    version="v1",
    ts=NOON,
    features={
        "age": Distribution(counts=[1, 1, 1], edges=[18.0, 65.0]),
        "country": Distribution(counts=[1, 1, 1], categories=["de", "nz"]),
    },
    score=Distribution(counts=[1, 1], edges=[0.5]),
)


def total(desk: Desk) -> Pane:
    """The pane of version v1, closed."""
    desk.close()
    return next(pane for pane in desk.emitted if pane.version == "v1" and not pane.segment)


def test_numbers_fall_into_half_open_bins_between_the_edges() -> None:
    desk = Desk(POLICY, PROFILE)
    for number, age in enumerate([17.9, 18, 64, 65, 99]):
        desk.prediction(0, request_id=f"r{number}", features={"age": age})
    assert total(desk).features["age"] == [1, 2, 2]


def test_words_fall_into_their_category_and_unseen_ones_into_the_last() -> None:
    desk = Desk(POLICY, PROFILE)
    for number, country in enumerate(["de", "nz", "nz", "fr"]):
        desk.prediction(0, request_id=f"r{number}", features={"country": country})
    assert total(desk).features["country"] == [1, 2, 1]


def test_missing_values_and_words_among_numbers_fall_into_no_bin() -> None:
    desk = Desk(POLICY, PROFILE)
    desk.prediction(0, request_id="missing", features={"age": None})
    desk.prediction(0, request_id="word", features={"age": "old"})
    desk.prediction(0, request_id="absent")
    assert total(desk).features == {}


def test_scores_of_ok_predictions_fall_into_the_scores_bins() -> None:
    desk = Desk(POLICY, PROFILE)
    desk.prediction(0, scores=[0.9, 0.5, 0.4, 0.1])
    desk.prediction(0, request_id="failed", status="error", scores=[0.9, 0.9, 0.9, 0.9])
    assert total(desk).features["score"] == [2, 2]


def test_features_that_only_the_request_has_count_for_its_prediction_whichever_is_read_first() -> None:
    for request_first in (True, False):
        desk = Desk(POLICY, PROFILE)
        if request_first:
            desk.request(0, features={"age": 30})
        desk.prediction(SECOND)
        if not request_first:
            desk.request(0, features={"age": 30})
        assert total(desk).features["age"] == [0, 1, 0]


def test_a_version_without_a_profile_has_no_features() -> None:
    desk = Desk(POLICY, PROFILE)
    desk.prediction(0, version="v2", features={"age": 30})
    desk.close()
    assert [pane.features for pane in desk.emitted] == [{}]


def test_a_versions_first_profile_holds() -> None:
    other = Profile(
        model="ranker", version="v1", ts=NOON, features={"age": Distribution(counts=[1], edges=[])}
    )
    desk = Desk(POLICY, PROFILE, other)
    desk.prediction(0, features={"age": 30})
    assert total(desk).features["age"] == [0, 1, 0]


def test_a_profile_that_comes_within_a_pane_holds_from_the_next_one_on() -> None:
    desk = Desk(POLICY)
    desk.prediction(0, request_id="before")
    desk.publish(PROFILE)
    desk.request(0, request_id="before", features={"age": 30})
    desk.prediction(SECOND, request_id="after", features={"age": 30})
    desk.prediction(PANE, request_id="next")
    desk.request(PANE, request_id="next", features={"age": 30})
    desk.close()
    first, second = (pane for pane in desk.emitted if pane.version == "v1" and not pane.segment)
    assert (first.sums["predictions"], first.features, first.quality) == (2, {}, {})
    assert second.features["age"] == [0, 1, 0]
    assert second.quality["age"][0] == 1
