"""What rules remember, on a real broker: a judge that is killed is followed by one that knows what fires and
what is usual, and reads only the panes that are not final yet.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import infra.topics
from schemas import topics
from schemas.records import Alert, Codec, Pane, Progress
from schemas.settings import Settings
from streams.judge.rules.memory import Firing, History, Remembered
from streams.log import Follower
from tests.integration.test_drift_stages import committed
from tests.judge_processes import Bench, now

MINUTE = 60_000
POLICY = {
    "model": "ranker",
    "pane": "1m",
    "attribution": {"window": "1s", "lateness": "1s"},
    "maturity": "0s",
    "rules": [
        {"name": "errors", "metric": "error_rate", "above": 0.05, "window": "1m"},
        {"name": "fewer clicks", "metric": "ctr", "window": "10m", "baseline": {"of": "moving"}},
        {
            "name": "budget", "metric": "error_rate",
            "burn_rate": {"objective": 0.99, "factor": 5, "windows": ["6h", "5m"]},
        },
    ],
}  # fmt: skip


class Feed:
    """Panes of a minute, written as fast as they can be, from ten hours ago on."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.start = now() // MINUTE * MINUTE - 36_000_000

    def panes(self, rows: Sequence[tuple[float, float]]) -> None:
        """So many errors and clicks, in a pane each, of a thousand predictions and ten thousand items."""
        for errors, clicks in rows:
            pane = Pane(
                model=self._bench.model, version="v1", arm="stable", segment="", segment_value="",
                start=self.start, end=self.start + MINUTE, generation=-1, partition=0, part=0,
                snapshot=self.start, deadline=self.start + MINUTE + 2_000,
                sums={"predictions": 1e3, "errors": errors, "impressions": 1e4, "clicks": clicks},
            )  # fmt: skip
            self._bench.send(topics.PANES, pane)
            self.start += MINUTE
            said = Progress(partition=0, partitions=1, time=self.start, clock=self.start, snapshot=self.start)
            self._bench.send(topics.PANES, said)


@pytest.fixture
def bench(settings: Settings, tmp_path: Path) -> Iterator[Bench]:
    infra.topics.create(settings, forever=True)
    made = Bench(settings, tmp_path, f"ranker-{now()}")
    made.apply(POLICY)
    yield made
    made.close()


def test_a_successor_knows_what_fires_what_is_usual_and_what_was_used_up(
    bench: Bench, settings: Settings
) -> None:
    follower = Follower(settings, topics.RULES)
    codec: Codec[Remembered] = Codec(Remembered)
    written: list[Remembered] = []

    def remembered() -> list[Remembered]:
        found = [codec.decode(entry.value) for entry in follower.refresh() if entry.value]
        written.extend(record for record in found if record.model == bench.model)
        return written

    def told(rule: str) -> list[Alert]:
        return [alert for alert in bench.alerts() if alert.rule == rule]

    judge = bench.start()
    feed = Feed(bench)
    feed.panes([(5, 500 + 10 * (minute % 3)) for minute in range(270)])
    feed.panes([(200, 500)] * 30)
    bench.until(lambda: len(told("errors")) == 1)
    bench.until(lambda: any(isinstance(each, Firing) and each.fires for each in remembered()))
    bench.until(
        lambda: any(
            isinstance(each, History) and each.through > feed.start - 15 * MINUTE for each in remembered()
        )
    )
    bench.until(lambda: committed(settings) is not None)
    judge.kill()
    judge.wait()

    feed.panes([(200, 300)] * 60)
    bench.start()
    bench.until(lambda: len(told("budget")) == 1)  # it needs what the first judge has seen, and the second
    bench.until(lambda: len(told("fewer clicks")) == 1)
    feed.panes([(5, 500)] * 2)
    bench.until(lambda: len(told("errors")) == 2)
    fired, resolved = told("errors")
    follower.close()
    assert (fired.status, resolved.status) == ("firing", "resolved")
    assert fired.alert_id == resolved.alert_id
