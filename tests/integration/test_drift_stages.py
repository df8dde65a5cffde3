"""Drift through the stages on a real broker and ClickHouse: panes in; alerts, detections and the view out."""

from collections.abc import Callable, Iterator
from pathlib import Path

import clickhouse_connect
import pytest
from confluent_kafka import TopicPartition

import infra.topics
from schemas import topics
from schemas.records import Alert, Detection, Distribution, Pane, Profile, Progress
from schemas.settings import Settings
from streams import offsets, registry
from streams.judge.rules.detectors import WARM_UP
from tests.integration.headgate_command import Headgate, until
from tests.judge_processes import Bench, Log, now

AGES = Distribution(counts=[50, 50], edges=[18.0], lowest=0.0, highest=100.0, deviation=20.0)
POLICY = {
    "model": "ranker",
    "pane": "1s",
    "attribution": {"window": "1s", "lateness": "1s"},
    "maturity": "1s",
    "rules": [
        {"name": "older", "metric": "drift_ks", "where": {"feature": "age"}, "above": 0.2, "window": "1s"},
        {
            "name": "clicks", "metric": "drift_page_hinkley", "where": {"feature": "ctr"}, "above": 0,
            "window": "1s",
        },
    ],
}  # fmt: skip


class Feed:
    """Panes of a model, a second each, written as fast as they can be."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.first = self._start = now() // 1_000 * 1_000 - 3_600_000

    def panes(self, count: int, clicks: float, ages: list[int]) -> None:
        for _ in range(count):
            place = (self._start - self.first) // 1_000
            sums = {"predictions": 100.0, "impressions": 100.0, "clicks": clicks + (1 if place % 2 else -1)}
            pane = Pane(
                model=self._bench.model, version="v1", arm="stable", segment="", segment_value="",
                start=self._start, end=self._start + 1_000, generation=-1, partition=0, part=0,
                snapshot=self._start, deadline=self._start + 3_000, sums=sums, features={"age": ages},
            )  # fmt: skip
            self._bench.send(topics.PANES, pane)
            self._start += 1_000
            self._bench.send(
                topics.PANES,
                Progress(
                    partition=0, partitions=1, time=self._start, clock=self._start, snapshot=self._start
                ),
            )


@pytest.fixture
def bench(settings: Settings, tmp_path: Path) -> Iterator[Bench]:
    infra.topics.create(settings, forever=True)
    made = Bench(settings, tmp_path, f"ranker-{now()}")
    made.apply(POLICY)
    made.send(topics.PROFILES, Profile(model=made.model, version="v1", ts=now(), features={"age": AGES}))
    yield made
    made.close()


def committed(settings: Settings) -> int | None:
    """From where the judge's successor reads `metrics.panes`; None as long as nothing is committed."""
    where = [TopicPartition(topics.PANES.full_name(settings.topics), 0)]
    group = registry.group("judge", settings)
    [place] = offsets.committed(settings.kafka.librdkafka(), group, where, 10).values()
    return place.offset if place.offset >= 0 else None


def test_what_drifts_is_alerted_and_detected_once_although_the_judge_is_killed_and_the_view_shows_it(
    bench: Bench, settings: Settings, tmp_path: Path
) -> None:
    log = Log(settings, topics.DRIFT, Detection)

    def detections() -> list[Detection]:
        return [found for found in log.read() if found.model == bench.model]

    def alerts(rule: str) -> Callable[[], list[Alert]]:
        return lambda: [alert for alert in bench.alerts() if alert.rule == rule]

    judge = bench.start()
    feed = Feed(bench)
    feed.panes(2 * WARM_UP, 10.0, [5, 5])
    bench.until(lambda: len(detections()) == 2 * WARM_UP - 3)
    assert alerts("older")() == []
    bench.until(lambda: committed(settings) is not None)
    judge.kill()
    judge.wait()

    feed.panes(60, 30.0, [1, 9])
    bench.start()
    bench.until(lambda: len(detections()) == 2 * WARM_UP + 60 - 3)
    starts = [found.start for found in detections()]
    assert starts == [feed.first + place * 1_000 for place in range(len(starts))]
    changed = [found for found in detections() if "page_hinkley" in found.changed.get("ctr", [])]
    assert len(changed) == 1
    assert changed[0].start >= feed.first + 2 * WARM_UP * 1_000

    bench.until(lambda: len(alerts("older")()) == 1)
    assert alerts("older")()[0].value == pytest.approx(0.4)
    bench.until(lambda: len(alerts("clicks")()) == 2)
    fired, _ = alerts("clicks")()
    assert fired.starts_at == changed[0].start

    client = clickhouse_connect.get_client(**settings.clickhouse.connect(), autogenerate_session_id=False)
    with Headgate(settings, tmp_path).running("streams", "sink"):
        view = f"{settings.clickhouse.database}.drift"
        query = (
            f"SELECT kind, feature, method, count(), countIf(drifted) FROM {view}"
            f" WHERE model = '{bench.model}' AND method IN ('ks', 'page_hinkley')"
            " AND feature IN ('age', 'ctr') GROUP BY ALL ORDER BY kind"
        )

        def rows() -> list[tuple[object, ...]]:
            return [tuple(row) for row in client.query(query).result_rows]

        until(lambda: bool(client.command(f"EXISTS VIEW {view}")))
        expected = [
            ("concept", "ctr", "page_hinkley", 2 * WARM_UP + 60 - 3, 1),
            ("data", "age", "ks", 2 * WARM_UP + 60, 60),
        ]
        until(lambda: rows() == expected)
