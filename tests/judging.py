"""A world for the judge: panes of invented traffic, worker acks and commands, against the real core, with
time as a number.
"""

from collections.abc import Mapping

import numpy as np

from schemas.policies import Policy, parse
from schemas.records import BUCKETS, Ack, Alert, Command, CommandRecord, Mode, Pane, Phase, Progress, Release
from schemas.timeline import Timeline
from streams.judge.core import Decisions, Judge
from streams.judge.facts.panes import Panes
from streams.judge.releases.checkpoint import Checkpoint
from streams.metrics import tallies
from streams.metrics.profiles import Profiles

START = 1_800_000_000_000
PANE = 1_000


def pane(
    version: str,
    start: int,
    *,
    arm: str = "stable",
    generation: int = -1,
    number: int = 1,
    sums: Mapping[str, float] | None = None,
    buckets: Mapping[str, list[float]] | None = None,
    model: str = "ranker",
    **fields: object,
) -> Pane:
    """A snapshot. `buckets` are sums by all user buckets, and make the sums of those names."""
    bucketed = {name: list(map(float, values)) for name, values in (buckets or {}).items()}
    totals = {name: sum(values) for name, values in bucketed.items()} | dict(sums or {})
    plain: dict[str, object] = {
        "model": model, "version": version, "arm": arm, "segment": "", "segment_value": "",
        "start": start, "end": start + PANE, "generation": generation, "partition": 0, "part": 0,
        "snapshot": number, "deadline": start + PANE + 2_000,
        "sums": totals, "buckets": list(range(BUCKETS)) if bucketed else [], "bucket_sums": bucketed,
    }  # fmt: skip
    return Pane(**(plain | fields))  # type: ignore[arg-type]


def take(panes: Panes, snapshot: Pane) -> Mapping[str, float]:
    """Has panes take a snapshot, as the judge does."""
    return panes.take(snapshot, tallies.of(snapshot))


class World:
    """A judge, and a minute hand. Panes are one second long, attribution and lateness one second each."""

    def __init__(self, policy: Mapping[str, object] | None = None, seed: int = 0) -> None:
        base: dict[str, object] = {
            "model": "ranker", "pane": "1s", "maturity": "1s",
            "attribution": {"window": "1s", "lateness": "1s"},
        }  # fmt: skip
        self.policy: Policy = parse(base | dict(policy or {}))
        self.now = START
        self.alerts: list[Alert] = []
        self.releases: list[Release] = []
        self.checkpoints: list[Checkpoint] = []
        self._random = np.random.default_rng(seed)
        self._offset = 0
        self._snapshot = 0
        self._workers: dict[str, int] = {}
        self._commands: list[tuple[int, CommandRecord]] = []
        timeline = Timeline()
        timeline.add(self.policy, START)
        self._timeline = timeline
        self.profiles = Profiles()
        self.judge = Judge(0, timeline, profiles=self.profiles)

    @property
    def release(self) -> Release:
        """The release record in force."""
        return self.releases[-1]

    def successor(self) -> None:
        """Another judge takes over: it knows the last release record and checkpoint, and reads all commands
        again.
        """
        self.judge = Judge(0, self._timeline, profiles=self.profiles)
        for checkpoint in self.checkpoints:
            self.judge.recall(checkpoint)
        if self.releases:
            self.judge.adopt(self.releases[-1])
        for offset, command in self._commands:
            self.judge.command(command, offset)

    def command(self, word: Command, version: str | None = None, mode: Mode | None = None) -> Decisions:
        """An operator's command, decided about at once."""
        record = CommandRecord(
            model="ranker", ts=self.now, command=word, command_id=f"command {self._offset}", actor="olga",
            version=version, mode=mode,
        )  # fmt: skip
        self._commands.append((self._offset, record))
        self.judge.command(record, self._offset)
        self._offset += 1
        return self.decide()

    def decide(self) -> Decisions:
        """What is due now; kept in `releases`, `alerts` and `checkpoints`."""
        positions = {"metrics.panes": {"0": self._snapshot}, "control.commands": {"0": self._offset}}
        decisions = self.judge.decide(self.now, positions)
        self.releases += decisions.releases
        self.alerts += decisions.alerts
        self.checkpoints += decisions.checkpoints
        return decisions

    def take(self, record: Pane | Progress) -> list[Alert]:
        """A record of `metrics.panes`, stamped with the present time."""
        self._snapshot += 1
        found = self.judge.pane(record, self.now)
        self.alerts += found
        return found

    def progress(self, clock: int | None = None, partition: int = 0, partitions: int = 1) -> list[Alert]:
        """A source partition has reached `clock` (the present where absent), and has passed all deadlines
        before it.
        """
        clock = self.now if clock is None else clock
        number = self._snapshot + 1
        return self.take(
            Progress(partition=partition, partitions=partitions, time=clock, clock=clock, snapshot=number)
        )

    def ack(self, worker: str = "w1", generation: int | None = None) -> None:
        """A worker has applied a generation, the present one where absent."""
        generation = self.release.generation if generation is None else generation
        self.judge.ack(
            Ack(
                model="ranker",
                worker=worker,
                ts=self.now,
                kind="ack",
                generation=generation,
                status="applied",
            )
        )

    def fail(self, worker: str, error: str) -> None:
        """A worker could not apply the present generation."""
        self.judge.ack(
            Ack(
                model="ranker", worker=worker, ts=self.now, kind="ack", generation=self.release.generation,
                status="failed", error=error,
            )
        )  # fmt: skip

    def heartbeat(self, worker: str = "w1", generation: int = 0) -> None:
        """A worker is alive, and has applied `generation`."""
        self.judge.ack(
            Ack(model="ranker", worker=worker, ts=self.now, kind="heartbeat", generation=generation)
        )

    def second(self, rates: Mapping[str, float], impressions: int = 2_000, **extra: float) -> list[Alert]:
        """A second of traffic, and what is decided then; answers the rules' alerts."""
        found = self.traffic(rates, impressions, **extra)
        self.decide()
        return found

    def traffic(self, rates: Mapping[str, float], impressions: int = 2_000, **extra: float) -> list[Alert]:
        """A second of traffic by the release in force, with click rates by version, and the worker's ack.
        Nothing is decided.
        """
        record = self.release
        self.ack()
        shares = {record.stable: 1 - record.weight}
        if record.candidate is not None:
            shares[record.candidate] = record.weight
        start = self.now - self.now % PANE
        self.now = start + PANE
        for version, share in shares.items():
            seen = self._random.poisson(impressions * share / BUCKETS, BUCKETS)
            self.take(
                pane(
                    version,
                    start,
                    arm="stable" if version == record.stable else "candidate",
                    generation=record.generation,
                    sums=extra,
                    buckets={
                        "predictions": seen.tolist(),
                        "impressions": seen.tolist(),
                        "clicks": self._random.binomial(seen, rates[version]).tolist(),
                        "errors": [0.0] * BUCKETS,
                    },
                )
            )
        return self.progress()

    def seconds(self, count: int, rates: Mapping[str, float], impressions: int = 2_000) -> None:
        """So many seconds of traffic."""
        for _ in range(count):
            self.second(rates, impressions)

    def until(self, phase: Phase, rates: Mapping[str, float], limit: int = 300) -> int:
        """Seconds of traffic until the release is in `phase`; answers how many."""
        for count in range(limit):
            if self.release.phase == phase:
                return count
            self.second(rates)
        raise AssertionError(f"{self.release.phase} after {limit} s: {self.release.reason}")
