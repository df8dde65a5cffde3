"""Real impressions and clicks through the join: the CTR is what was published, and the ranking metrics
are those of recbole's evaluator."""

from collections import Counter

import numpy as np
import pytest

from schemas.records import Distribution, Pane, Profile
from tests.oracle import zozotown
from tests.oracle.evaluator import Evaluator
from tests.oracle.recording import final_panes, metrics, overall
from tests.oracle.zozotown import FEATURES, Impression

HOUR = 3_600_000
PLACES = 3


@pytest.fixture(scope="module")
def shown() -> list[Impression]:
    return zozotown.impressions()


@pytest.fixture(scope="module")
def reference(shown: list[Impression]) -> Profile:
    """How users were under the random policy, the three commonest words of each feature apart."""
    features = {}
    for name in FEATURES:
        words = Counter(each.features[name] for each in shown if each.policy == "random")
        common = [word for word, _ in words.most_common(3)]
        counts = [words[word] for word in common]
        features[name] = Distribution(counts=[*counts, words.total() - sum(counts)], categories=common)
    return Profile(model="zozotown", version="bts", ts=shown[0].ts, features=features)


@pytest.fixture(scope="module")
def panes(shown: list[Impression], reference: Profile) -> list[Pane]:
    return final_panes(zozotown.record(shown, 2), zozotown.WATCHED, reference)


def test_there_are_60_000_impressions_with_287_clicks(shown: list[Impression]) -> None:
    assert len(shown) == 60_000
    assert sum(each.clicked for each in shown) == 287


@pytest.mark.parametrize(("version", "clicks", "ctr"), [("bts", 157, "0.523%"), ("random", 130, "0.433%")])
def test_ctr_is_the_published_one(panes: list[Pane], version: str, clicks: int, ctr: str) -> None:
    found = overall(panes, version)["ctr"]
    assert (found.numerator, found.denominator) == (clicks, 30_000)
    assert f"{found.value:.3%}" == ctr


def test_impressions_and_clicks_of_every_hour_and_campaign_are_counted_exactly(
    panes: list[Pane], shown: list[Impression]
) -> None:
    wanted: Counter[tuple[str, str, int]] = Counter()
    clicked: Counter[tuple[str, str, int]] = Counter()
    for each in shown:
        for campaign in ("", each.campaign):
            where = (each.policy, campaign, each.ts - each.ts % HOUR)
            wanted[where] += 1
            clicked[where] += each.clicked
    found = {
        (series.version, series.segment_value, series.start): rows["ctr"]
        for series, rows in metrics(panes).items()
        if series.version
    }
    assert {where: row.denominator for where, row in found.items()} == wanted
    assert +Counter({where: int(row.numerator or 0) for where, row in found.items()}) == +clicked


@pytest.mark.parametrize("version", zozotown.POLICIES)
def test_ranking_metrics_of_the_clicked_are_those_of_recboles_evaluator(
    panes: list[Pane], shown: list[Impression], version: str
) -> None:
    positions = np.array([each.position for each in shown if each.policy == version and each.clicked])
    hits = positions[:, None] == np.arange(1, PLACES + 1)
    relevant = np.ones(len(positions), int)
    recbole, found = Evaluator(), overall(panes, version)
    assert found["mrr"].value == pytest.approx(recbole.mrr(hits)[:, -1].mean())
    for k in (1, 2, 3):
        of_k = {
            "recall": recbole.recall(hits, relevant),
            "precision": recbole.precision(hits),
            "hit_rate": recbole.hit(hits),
            "ndcg": recbole.ndcg(hits, relevant),
            "map": recbole.map(hits, relevant),
        }
        for name, values in of_k.items():
            assert found[f"{name}@{k}"].value == pytest.approx(values[:, k - 1].mean()), f"{name}@{k}"


def test_features_of_the_requests_are_in_the_bins_of_their_categories(
    panes: list[Pane], shown: list[Impression], reference: Profile
) -> None:
    for name in FEATURES:
        words = Counter(each.features[name] for each in shown if each.policy == "bts")
        common = reference.features[name].categories or []
        counts = [words[word] for word in common]
        found = np.sum([p.features[name] for p in panes if p.features], axis=0).tolist()
        quality = np.sum([p.quality[name] for p in panes if p.quality], axis=0).tolist()
        unseen = words.total() - sum(counts)
        assert found == [*counts, unseen]
        assert quality == [30_000, 0, 0, 0, unseen]
