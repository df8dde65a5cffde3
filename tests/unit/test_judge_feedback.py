"""Whether feedback has stopped coming while predictions go on."""

from itertools import product

import msgspec
import pytest

from streams.judge.releases.evidence import Evidence
from streams.judge.statistics import feedback
from streams.judge.statistics.feedback import Pane, Quiet
from streams.metrics import catalogue
from tests.judging import START, World

SECOND = 1_000
RELEASE = {
    "steps": [{"weight": 0.2, "for": "100s"}],
    "min_samples": 500,
    "guardrails": [{"metric": "ctr", "worse_by": 0.0}],
    "success": {"metric": "ctr", "better_by": 0.0},
    "no_data": "4s",
}
CLICKS, NONE = {"v1": 0.1, "v2": 0.1}, {"v1": 0.0, "v2": 0.0}


def heard(*clicks: float, predictions: float = 1_000) -> dict[str, Quiet]:
    """After panes of a second with so many clicks each."""
    quiet: dict[str, Quiet] = {}
    for number, many in enumerate(clicks):
        sums = {"predictions": predictions, "clicks": many}
        quiet = feedback.after(quiet, Pane(number * SECOND, (number + 1) * SECOND, sums))
    return quiet


def missing(*clicks: float, predictions: float = 1_000, patience: int = 2 * SECOND) -> str | None:
    whole = {"predictions": predictions * len(clicks), "clicks": sum(clicks)}
    quiet = heard(*clicks, predictions=predictions)
    return feedback.missing(quiet, whole.__getitem__, len(clicks) * SECOND, patience)


@pytest.mark.parametrize(
    ("metric", "sum_"),
    [
        ("ctr", "clicks"),
        ("cvr", "clicks"),
        ("recall@5", "relevant"),
        ("precision@5", "places@5"),
        ("mrr", "relevant_predictions"),
        ("mae", "labelled"),
        ("error_rate", None),
        ("slow_rate", None),
        ("accuracy", None),
    ],
)
def test_what_tells_of_a_metric_that_its_feedback_comes(metric: str, sum_: str | None) -> None:
    found = catalogue.find(metric)
    assert isinstance(found, catalogue.Ratio)
    assert feedback.telling(found) == sum_


def test_clicks_that_stop_are_missing() -> None:
    told = missing(50, 50, 50, 0, 0)
    assert told is not None
    assert "2,000 predictions" in told
    assert "no clicks, 100 were to be expected" in told


@pytest.mark.parametrize(
    "clicks",
    [
        (50, 50, 50, 50, 50),
        (50, 50, 50, 0, 1),
        (50, 50, 50, 50, 0),
        (5, 5, 5, 0, 0),
        (0, 0, 0, 0, 0),
        (1, 0, 0, 0, 0),
    ],
    ids=["all come", "one comes", "too short", "too few to tell", "never any", "seldom any"],
)
def test_they_are_not_where_there_is_no_reason_to_think_so(clicks: tuple[float, ...]) -> None:
    assert missing(*clicks) is None


def test_they_are_not_where_nobody_was_asked() -> None:
    assert missing(50, 50, 0, 0, 0, predictions=0) is None


@pytest.mark.parametrize("clicks", list(product((0, 7), repeat=5)))
def test_looking_back_from_any_pane_finds_the_same_as_going_through_all(clicks: tuple[int, ...]) -> None:
    for cut in range(6):
        panes = [
            Pane(number * SECOND, (number + 1) * SECOND, {"predictions": 100.0, "clicks": float(many)})
            for number, many in enumerate(clicks[cut:], start=cut)
        ]
        until = heard(*clicks[:cut], predictions=100)
        assert feedback.before(until, ["clicks"], reversed(panes)) == heard(*clicks, predictions=100)


def test_what_has_never_been_heard_of_is_not_waited_for() -> None:
    assert feedback.before({}, ["labelled"], [Pane(0, SECOND, {"predictions": 1_000.0})]) == {}


def test_a_release_whose_clicks_all_stop_is_paused_and_goes_on_when_they_come_again() -> None:
    made = _canary()
    made.seconds(10, CLICKS)
    assert made.until("canary", CLICKS) == 0
    made.until("paused", NONE, 20)
    assert made.release.evidence is not None
    assert made.release.evidence["cause"] == "no_data"
    assert "no feedback" in made.release.reason
    made.seconds(20, NONE)
    assert made.until("paused", NONE) == 0
    made.until("canary", CLICKS, 20)
    made.seconds(10, CLICKS)
    assert made.until("canary", CLICKS) == 0


def test_where_only_stables_clicks_stop_nothing_is_promoted() -> None:
    made = _canary(steps=[{"weight": 0.2, "for": "8s"}])
    made.seconds(6, CLICKS)
    made.until("paused", {"v1": 0.0, "v2": 0.1}, 20)
    assert "no feedback" in made.release.reason


def test_where_only_the_candidates_stop_it_is_rolled_back() -> None:
    made = _canary()
    made.seconds(6, CLICKS)
    made.until("rolled_back", {"v1": 0.1, "v2": 0.0}, 20)


def test_a_successor_knows_since_when_nothing_came() -> None:
    evidence = Evidence("v2", "v1")
    kept = msgspec.structs.replace(evidence.keep(START), quiet={"clicks": Quiet(START, 5_000.0)})
    assert Evidence.recall(kept).keep(START).quiet == {"clicks": Quiet(START, 5_000.0)}


def _canary(**changes: object) -> World:
    made = World({"release": RELEASE | changes})
    made.command("start", "v1")
    made.seconds(3, {"v1": 0.1})
    made.command("start", "v2")
    return made
