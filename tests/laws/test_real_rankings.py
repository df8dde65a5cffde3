"""Real ratings, ranked by popularity, through the join: metrics are those of recbole's evaluator and
scikit-learn."""

from itertools import islice

import numpy as np
import pytest

from infra.demo import movielens
from infra.demo.visits import SECOND, Visit, before, popularity, replay
from schemas import policies
from schemas.records import Pane
from schemas.topics import FEEDBACK, PREDICTIONS, REQUESTS
from tests.oracle import judged
from tests.oracle.evaluator import Evaluator, table
from tests.oracle.recording import Metrics, Recording, final_panes, metrics, overall

START = 1_767_225_600_000
PANE = 600_000
VISITS = 2_146
APART = 3_000
SHOWN = 10
KS = (5, 10, 20)
THRESHOLD = 0.3
POLICY = policies.parse(
    {
        "model": "films",
        "pane": "10m",
        "attribution": {"window": "10m", "lateness": "1m"},
        "k": list(KS),
        "relevant": ["relevant"],
        "threshold": THRESHOLD,
        "segments": ["gender"],
    }
)


class Ranked:
    """A visit, its films by popularity, and what popularity makes of each: a chance between 0 and 1."""

    def __init__(self, visit: Visit, popular: movielens.Ints) -> None:
        self.gender = str(visit.features["gender"])
        self.relevant = {str(item) for item in visit.relevant}
        best = sorted(visit.items, key=lambda item: (-popular[item], item))
        self.items = [str(item) for item in best]
        self.scores = [float(popular[item]) / (float(popular[item]) + 300.0) for item in best]

    @property
    def clicked(self) -> list[bool]:
        """Of the items that are shown."""
        return [item in self.relevant for item in self.items[:SHOWN]]


@pytest.fixture(scope="module")
def visits() -> list[Ranked]:
    data = movielens.load(movielens.fetch())
    popular = popularity(data, before(data, SECOND))
    return [Ranked(visit, popular) for visit in islice(replay(data, SECOND, seed=1), VISITS)]


@pytest.fixture(scope="module")
def panes(visits: list[Ranked]) -> list[Pane]:
    """Requests 3 s apart; after 20 s and more the films that were rated, and clicks on those that were
    shown."""
    recording = Recording()
    for number, visit in enumerate(visits):
        request_id, ts = f"v{number}", START + number * APART
        recording.add(REQUESTS, ts, request_id, model="films", segments={"gender": visit.gender})
        recording.add(
            PREDICTIONS,
            ts,
            request_id,
            model="films",
            version="popular",
            arm="stable",
            status="ok",
            latency_ms=1.0,
            items=visit.items,
            scores=visit.scores,
            shown=SHOWN,
        )
        for order, item in enumerate(sorted(visit.relevant)):
            recording.add(FEEDBACK, ts + 20_000 + order, request_id, kind="relevant", item=int(item))
            if item in visit.items[:SHOWN]:
                recording.add(FEEDBACK, ts + 10_000 + order, request_id, kind="click", item=item, delay=3_000)
    return final_panes(recording, POLICY)


def assert_ranked_as_recbole_says(found: Metrics, visits: list[Ranked]) -> None:
    recbole = Evaluator()
    hits, relevant = table([visit.items for visit in visits], [visit.relevant for visit in visits], 40)
    assert found["mrr"].value == pytest.approx(recbole.mrr(hits)[:, -1].mean())
    for k in KS:
        recalled = (recbole.recall(hits, relevant)[:, k - 1] * relevant).sum() / relevant.sum()
        assert found[f"recall@{k}"].value == pytest.approx(recalled)  # of all relevant items, not of means
        for name, values in {
            "precision": recbole.precision(hits),
            "hit_rate": recbole.hit(hits),
            "ndcg": recbole.ndcg(hits, relevant),
            "map": recbole.map(hits, relevant),
        }.items():
            assert found[f"{name}@{k}"].value == pytest.approx(values[:, k - 1].mean()), f"{name}@{k}"


def test_ranking_metrics_are_those_of_recboles_evaluator(panes: list[Pane], visits: list[Ranked]) -> None:
    assert_ranked_as_recbole_says(overall(panes, "popular"), visits)


@pytest.mark.parametrize("gender", ["F", "M"])
def test_so_they_are_in_each_segment(panes: list[Pane], visits: list[Ranked], gender: str) -> None:
    some = [visit for visit in visits if visit.gender == gender]
    assert_ranked_as_recbole_says(overall(panes, "popular", "gender", gender), some)


def test_classification_of_clicks_in_every_pane_is_what_scikit_learn_says(
    panes: list[Pane], visits: list[Ranked]
) -> None:
    found = {s.start: rows for s, rows in metrics(panes).items() if s.version and not s.segment}
    assert sorted(found) == list(range(START, START + VISITS * APART, PANE))
    for start, rows in found.items():
        first = (start - START) // APART
        some = visits[first : first + PANE // APART]
        scores = [score for visit in some for score in visit.scores[:SHOWN]]
        clicked = [click for visit in some for click in visit.clicked]
        for name, value in judged.classification(scores, clicked, THRESHOLD).items():
            assert rows[name].value == pytest.approx(value, rel=1e-6), name
        area, bound = judged.roc_auc(scores, clicked)
        assert rows["roc_auc"].value == pytest.approx(area, abs=bound)
        assert bound < 0.03
        assert rows["ece"].value == pytest.approx(judged.expected_calibration_error(scores, clicked))
        assert rows["ctr"].value == pytest.approx(np.mean(clicked))
