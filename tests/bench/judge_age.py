"""What a release of a month costs the judge: `python -m tests.bench.judge_age [DAYS [SECONDS]]`
with panes of so many seconds.
"""

import resource
import sys
import time
from typing import NamedTuple

import msgspec
import numpy as np

from schemas.policies import parse
from schemas.records import BUCKETS, ENCODER, CommandRecord, Pane, Progress
from schemas.timeline import Timeline
from streams.judge.core import Decisions, Judge
from streams.judge.releases.checkpoint import Checkpoint

START = 1_800_000_000_000
DAY = 86_400_000
TRAFFIC = 10.0
"""Predictions of a user bucket in a pane, of both versions."""
COUNTS = {"predictions": 1.0, "impressions": 5.0, "clicks": 0.25, "errors": 0.01, "slow": 0.05, "ranked": 0.2}
"""Sums of whole numbers, by prediction."""
SHARES = tuple(f"{name}@{k}" for name in ("recall", "precision", "ndcg", "map", "mrr") for k in (5, 10))
"""Sums that are no whole numbers."""
POLICY = {
    "model": "ranker",
    "maturity": "10m",
    "release": {
        "steps": [{"weight": 0.1, "for": "1d"}, {"weight": 0.5, "for": "400d"}],
        "guardrails": [
            {"metric": "ctr", "worse_by": 0.2},
            {"metric": "error_rate", "above": 0.5},
            {"metric": "slow_rate", "worse_by": 9},
        ],
        "success": {"metric": "ctr", "better_by": -0.02},
        "timeout": "400d",
        "no_data": "1d",
    },
}


class Figures(NamedTuple):
    """Of a release at one age: ms a look after new panes, bytes of the checkpoint, records of `metrics.panes`
    that a successor reads, and the seconds in which it has taken them in and looked.
    """

    panes: int
    look_ms: float
    checkpoint: int
    reread: int
    start_s: float


class Aging:
    """A release of v2 beside v1, whose panes are final when the attribution window has passed."""

    def __init__(self, pane: int) -> None:
        self._pane = pane
        self._timeline = Timeline()
        self._policy = parse(POLICY | {"pane": f"{pane // 1_000}s"})
        self._timeline.add(self._policy, START)
        self._random = np.random.default_rng(0)
        self._recent: list[tuple[Pane, int]] = []
        self._kept = b""
        self.judge = Judge(0, self._timeline)
        self.now = START
        for offset, version in enumerate(("v1", "v2")):
            command = CommandRecord(
                model="ranker", ts=START, command="start", command_id=version, actor="olga", version=version
            )
            self.judge.command(command, offset)
            (self.record,) = self._decide().releases

    def age(self, until: int) -> Figures:
        """Lets the release go on until it is so old (ms)."""
        panes = 0
        while self.now < START + until:
            self.now += self._pane
            panes += 1
            self._take(self.now - self._pane)
            self.judge.forget(self.now)
            if panes % 30 == 0:
                self._decide()
        before = time.perf_counter()
        self._take(self.now)
        self.judge.decide(self.now, {})
        look = time.perf_counter() - before
        return Figures((self.now - START) // self._pane, 1_000 * look, len(self._kept), *self._restart())

    def _take(self, start: int) -> None:
        generation = self.record.generation
        weight = self.record.weight
        for version, arm, share in (("v1", "stable", 1 - weight), ("v2", "candidate", weight)):
            sums = {
                name: self._random.poisson(TRAFFIC * share * rate, BUCKETS).astype(float)
                for name, rate in COUNTS.items()
            }
            sums |= {name: sums["ranked"] * self._random.random(BUCKETS) for name in SHARES}
            pane = Pane(
                model="ranker", version=version, arm=arm, segment="", segment_value="", start=start,
                end=start + self._pane, generation=generation, partition=0, part=0, snapshot=1,
                deadline=self._policy.deadline(start), buckets=list(range(BUCKETS)),
                sums={name: float(values.sum()) for name, values in sums.items()},
                bucket_sums={name: values.tolist() for name, values in sums.items()},
            )  # fmt: skip
            self._recent.append((pane, self.now))
            self.judge.pane(pane, self.now)
        self.judge.pane(self._progress(), self.now)

    def _progress(self) -> Progress:
        return Progress(
            partition=0, partitions=1, time=self.now - 1_000, clock=self.now, snapshot=self.now - START + 1
        )

    def _decide(self) -> Decisions:
        decisions = self.judge.decide(self.now, {"control.commands": {"0": 2}, "at": {"0": self.now}})
        for checkpoint in decisions.checkpoints:
            self._kept = ENCODER.encode(checkpoint)
            self.judge.secure(checkpoint)
        self.record = decisions.releases[-1] if decisions.releases else self.record
        floor = self.judge.needed()
        if floor is not None:
            self._recent = [(pane, at) for pane, at in self._recent if pane.start >= floor]
        return decisions

    def _restart(self) -> tuple[int, float]:
        values = [(ENCODER.encode(pane), at) for pane, at in self._recent]
        decoder = msgspec.json.Decoder(Pane)
        before = time.perf_counter()
        judge = Judge(0, self._timeline, self.judge.needed() or 0)
        judge.recall(msgspec.json.decode(self._kept, type=Checkpoint))
        judge.adopt(self.record)
        for value, at in values:
            judge.pane(decoder.decode(value), at)
        judge.pane(self._progress(), self.now)
        judge.decide(self.now, {})
        return len(values), time.perf_counter() - before


def main(days: float, seconds: int) -> None:
    """Prints the figures as a release gets so many days old, with panes of so many seconds."""
    aging = Aging(seconds * 1_000)
    for part in (0.02, 0.1, 0.3, 1.0):
        found = aging.age(int(part * days * DAY))
        print(
            f"{part * days:6.1f} days, {found.panes:7,} panes: {found.look_ms:5.1f} ms a look, checkpoint "
            f"{found.checkpoint / 1_000:,.0f} kB, a successor reads {found.reread} records in "
            f"{found.start_s:.2f} s; {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_000:,.0f} MB",
            flush=True,
        )


if __name__ == "__main__":
    given = sys.argv[1:] + ["30", "60"][len(sys.argv) - 1 :]
    main(float(given[0]), int(given[1]))
