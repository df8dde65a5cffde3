"""Rules in a world whose panes are as long as one likes, fed pane by pane through the judge's core; and a
judge that takes over from another with no more than what that one has written.
"""

from collections.abc import Iterable, Mapping

import msgspec
import numpy as np

from schemas.policies import Duration, Policy, parse
from schemas.records import ENCODER, Alert, Codec, PaneRecord, Progress
from schemas.timeline import Timeline
from streams.judge.check import check
from streams.judge.core import Judge
from streams.judge.rules.memory import Remembered
from streams.metrics.profiles import Profiles
from tests.judging import START, pane

LATENESS = 2_000
"""Attribution window and lateness together (ms), one second each."""


class Feed:
    """A judge with rules, and panes of `ranker` one after the other."""

    def __init__(self, *rules: Mapping[str, object], length: str = "10m", **policy: object) -> None:
        named = [{"name": f"rule {i}"} | dict(rule) for i, rule in enumerate(rules)]
        base: dict[str, object] = {"model": "ranker", "pane": length, "maturity": "0s", "rules": named}
        base["attribution"] = {"window": "1s", "lateness": "1s"}
        self.policy: Policy = parse(base | policy)
        check(self.policy)
        self.length = int(Duration.parse(length))
        self.now = START - START % self.length
        self.profiles = Profiles()
        self.timeline = Timeline()
        self.timeline.add(self.policy, self.now)
        self.judge = Judge(0, self.timeline, profiles=self.profiles)
        self.written: dict[str, bytes | None] = {}
        self._log: list[tuple[PaneRecord, int]] = []
        self._number = 0

    def panes(
        self, sums: Iterable[Mapping[str, float]], version: str = "v1", **fields: object
    ) -> list[Alert]:
        """A pane for each of `sums`, none where they are empty; answers what fired or was resolved."""
        found: list[Alert] = []
        for each in sums:
            if each or fields:
                self.tell(each, version, **fields)
            found += self.go_on()
        return found

    def tell(self, sums: Mapping[str, float], version: str = "v1", **fields: object) -> None:
        """A snapshot in the pane that is running."""
        self._number += 1
        ends = {"end": self.now + self.length, "deadline": self.now + self.length + LATENESS}
        made = pane(version, self.now, sums=sums, number=self._number, **(ends | fields))  # type: ignore[arg-type]
        self._take(made, self.now)

    def go_on(self) -> list[Alert]:
        """The next pane begins."""
        self.now += self.length
        self._number += 1
        said = Progress(partition=0, partitions=1, time=self.now, clock=self.now, snapshot=self._number)
        return self._take(said, self.now)

    def write(self) -> None:
        """What a stage would write now about what rules remember."""
        for key, record in [*self.judge.histories(), *((each.key, each) for each in self.judge.firings())]:
            self.written[key] = None if record is None else ENCODER.encode(record)

    def restart(self, floor: int | None = None) -> int:
        """Another judge takes over, which knows what has been written and reads the log again from `floor`,
        or where it must; answers how many records that are.
        """
        floor = self.judge.needed() if floor is None else floor
        assert floor is not None
        self.judge = Judge(0, self.timeline, floor, self.profiles)
        codec: Codec[Remembered] = Codec(Remembered)
        for value in self.written.values():
            if value is not None:
                self.judge.remember(codec.decode(value))
        self.judge.expect("ranker")
        starts = (i for i, (each, _) in enumerate(self._log) if getattr(each, "start", 0) >= floor)
        again = self._log[next(starts, len(self._log)) :]
        for record, timestamp in again:
            self.judge.pane(msgspec.structs.replace(record), timestamp)
        return len(again)

    def _take(self, record: PaneRecord, timestamp: int) -> list[Alert]:
        self._log.append((record, timestamp))
        return self.judge.pane(record, timestamp)


def errors(bad: float, of: float = 1_000) -> dict[str, float]:
    """Sums of the error rate."""
    return {"errors": bad, "predictions": of}


def clicks(clicked: float, of: float = 10_000) -> dict[str, float]:
    """Sums of the CTR."""
    return {"clicks": clicked, "impressions": of, "predictions": of / 10}


def day(level: float = 0.05, panes: int = 144, seed: int = 0, of: int = 10_000) -> list[dict[str, float]]:
    """A day of CTR in panes of ten minutes, without a season."""
    random = np.random.default_rng(seed)
    return [clicks(float(random.binomial(of, level)), of) for _ in range(panes)]


def told(alerts: Iterable[Alert]) -> list[str]:
    """What happened, in order."""
    return [alert.status for alert in alerts]
