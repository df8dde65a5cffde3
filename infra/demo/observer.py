"""What the demo sees of Headgate while it runs: releases, acks and alerts from their topics, metrics from
ClickHouse's views.
"""

from collections import defaultdict
from typing import NamedTuple

from clickhouse_connect.driver.client import Client

from schemas import topics
from schemas.records import Ack, Alert, Codec, Release
from schemas.settings import Settings
from streams.log import Entry, Follower
from streams.metrics import catalogue

RECENT = 5
"""Seconds of panes that count as now, but for the very last: those are still filling."""

FILLING = 2
"""Seconds until a pane has nearly all of its predictions."""

MATURE = 5
"""Seconds until nearly all clicks have come: the policy's maturity and a pane."""

TOTALS = """\
SELECT version, metric, sum(numerator), sum(denominator),
       sumIf(numerator, recent), sumIf(denominator, recent), sumIf(seconds, recent), avgIf(value, recent)
FROM (
    SELECT *, pane BETWEEN now64(3) - {recent:UInt32} AND now64(3) - {filling:UInt32} AS recent FROM metrics
    WHERE model = {model:String} AND version != '' AND metric IN {metrics:Array(String)}
        AND (pane <= now64(3) - {mature:UInt32} OR metric NOT IN {feedback:Array(String)})
)
GROUP BY version, metric ORDER BY version, metric"""

DRIFT = """\
SELECT version, argMax(feature, psi), max(psi) FROM (
    SELECT version, feature, avg(value) AS psi FROM drift
    WHERE model = {model:String} AND method = 'psi' AND pane >= now64(3) - 30 GROUP BY version, feature
) GROUP BY version"""

LOST = """\
SELECT metric, sum(numerator) FROM metrics
WHERE metric IN ('late', 'duplicates', 'expired', 'unmatched', 'unanswered', 'mispartitioned', 'errors')
GROUP BY metric
UNION ALL SELECT 'dead letters of the ' || stage, count() FROM dead_letters GROUP BY stage"""


class Sums(NamedTuple):
    """A metric of a version: its sums over all panes and over the recent ones, and the mean of the recent
    values.
    """

    numerator: float
    denominator: float | None
    recent_numerator: float
    recent_denominator: float | None
    recent_seconds: float
    recent_value: float | None


class Stamped(NamedTuple):
    """A release and the Kafka timestamp (ms) of its record."""

    release: Release
    timestamp: int


class Observer:
    """Follows one model. `refresh` is to be called now and then; everything else answers from what was
    read.
    """

    def __init__(self, settings: Settings, client: Client, model: str) -> None:
        self.releases: list[Stamped] = []
        self.acks: dict[int, dict[str, int]] = defaultdict(dict)
        self.alerts: dict[str, Alert] = {}
        self.workers: set[str] = set()
        self._model = model
        self._client = client
        self._followers = [
            Follower(settings, topic) for topic in (topics.RELEASES, topics.ACKS, topics.ALERTS)
        ]
        self._release: Codec[Release] = Codec(Release)
        self._ack: Codec[Ack] = Codec(Ack)
        self._alert: Codec[Alert] = Codec(Alert)

    def refresh(self) -> None:
        """Reads the topics to their ends."""
        releases, acks, alerts = (follower.refresh() for follower in self._followers)
        self.releases += [Stamped(self._release.decode(entry.value), entry.timestamp) for entry in releases]
        for entry in acks:
            self._note(entry)
        for entry in alerts:
            alert = self._alert.decode(entry.value)
            self.alerts[alert.alert_id] = alert

    def close(self) -> None:
        """Ends the consumers."""
        for follower in self._followers:
            follower.close()

    @property
    def current(self) -> Release | None:
        """The state that is desired now."""
        return self.releases[-1].release if self.releases else None

    def acknowledged(self, generation: int) -> int | None:
        """The Kafka timestamp (ms) of the last worker's ack of a generation; None while one is missing."""
        acks = self.acks[generation]
        return max(acks.values()) if self.workers and self.workers <= acks.keys() else None

    def metrics(self, *names: str, mature: int = 0) -> dict[str, dict[str, Sums]]:
        """By version and metric; those that wait for feedback from panes at least `mature` seconds old."""
        parameters = {
            "recent": RECENT + FILLING,
            "filling": FILLING,
            "mature": mature,
            "model": self._model,
            "metrics": list(names),
            "feedback": [name for name in names if getattr(catalogue.find(name), "feedback", False)],
        }
        found: dict[str, dict[str, Sums]] = defaultdict(dict)
        for version, metric, *sums in self._client.query(TOTALS, parameters=parameters).result_rows:
            found[version][metric] = Sums(*sums)
        return found

    def drift(self) -> dict[str, tuple[str, float]]:
        """The feature that is farthest from its reference, and how far (PSI), by version."""
        rows = self._client.query(DRIFT, parameters={"model": self._model}).result_rows
        return {version: (feature, psi) for version, feature, psi in rows}

    def lost(self) -> dict[str, int]:
        """Records that did not count, by reason."""
        return {metric: int(count) for metric, count in self._client.query(LOST).result_rows if count}

    def _note(self, entry: Entry) -> None:
        ack = self._ack.decode(entry.value)
        if ack.model != self._model:
            return
        self.workers.add(ack.worker)
        if ack.kind == "ack" and ack.status == "applied":
            self.acks[ack.generation].setdefault(ack.worker, entry.timestamp)
