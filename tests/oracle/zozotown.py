"""Open Bandit Data: what ZOZOTOWN's shop showed in seven days of November 2019, by a uniformly random
policy and by Bernoulli Thompson sampling, and what was clicked. The sample of it that lies inside the
wheel of obp.

Yuta Saito, Shunsuke Aihara, Megumi Matsutani and Yusuke Narita, "Open Bandit Dataset and Pipeline: Towards
Realistic and Reproducible Off-Policy Evaluation", NeurIPS 2021 Datasets and Benchmarks.
"""

import csv
import io
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from infra.demo import wheels
from schemas import policies
from schemas.topics import FEEDBACK, PREDICTIONS, REQUESTS
from tests.oracle.recording import Recording

PIN = Path(__file__).with_name("obp.txt")
POLICIES = ("bts", "random")
CAMPAIGNS = ("all", "men", "women")
FEATURES = ("user_feature_0", "user_feature_1", "user_feature_2", "user_feature_3")

WATCHED = policies.parse(
    {
        "model": "zozotown",
        "pane": "60m",
        "attribution": {"window": "10m", "lateness": "1m"},
        "k": [1, 2, 3],
        "impressions": "feedback",
        "segments": ["surface"],
    }
)


class Impression(NamedTuple):
    """One item at one of the three places of a shown list. `ts` is in epoch ms; `features` are the
    user's, hashed by the publisher."""

    policy: str
    campaign: str
    ts: int
    item: str
    position: int
    clicked: bool
    propensity: float
    features: dict[str, str]


def impressions() -> list[Impression]:
    """All of them. Raises `HeadgateError` where the wheel cannot be had."""
    with wheels.opened(PIN, wheels.fetch(PIN)) as archive:
        return [
            impression
            for policy in POLICIES
            for campaign in CAMPAIGNS
            for impression in _read(
                archive.read(f"obp/dataset/obd/{policy}/{campaign}/{campaign}.csv").decode(), policy, campaign
            )
        ]


def _read(text: str, policy: str, campaign: str) -> Iterator[Impression]:
    for row in csv.DictReader(io.StringIO(text)):
        yield Impression(
            policy,
            campaign,
            round(datetime.fromisoformat(row["timestamp"]).timestamp() * 1000),
            row["item_id"],
            int(row["position"]),
            row["click"] == "1",
            float(row["propensity_score"]),
            {name: row[name] for name in FEATURES},
        )


def record(shown: list[Impression], partitions: int) -> Recording:
    """Each impression as a request, an answer whose list has the item at its place, below others that are
    not known, an impression of it 1 s later, and the click on it, if any, after 30 s. The random policy
    is `stable`."""
    recording = Recording(partitions)
    for number, each in enumerate(shown):
        request_id = f"r{number}"
        recording.add(REQUESTS, each.ts, request_id, model=WATCHED.model, features=each.features)
        recording.add(
            PREDICTIONS,
            each.ts,
            request_id,
            model=WATCHED.model,
            version=each.policy,
            arm="stable" if each.policy == "random" else "candidate",
            status="ok",
            latency_ms=1.0,
            items=[*(f"?{place}" for place in range(1, each.position)), each.item],
            surface=each.campaign,
        )
        recording.add(FEEDBACK, each.ts + 1_000, request_id, kind="impression", item=each.item)
        if each.clicked:
            recording.add(FEEDBACK, each.ts + 30_000, request_id, kind="click", item=each.item, delay=5_000)
    return recording
