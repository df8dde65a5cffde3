"""A world for the judge whose log is kept: so that a successor reads on where the last commit says, and that
decisions can be made again from it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from schemas import policies
from schemas.records import ENCODER, Ack, Alert, CommandRecord, Pane, PolicyRecord, Progress, Record
from schemas.timeline import BEGINNING
from streams.judge.core import Decisions, Judge
from streams.judge.releases.checkpoint import Checkpoint
from streams.judge.verify import Inputs, Verified, verify
from streams.log import Entry
from tests.judging import START, World


class Tape:
    """A judge that notes what it is told, and where; each topic has offsets of its own."""

    def __init__(self, judge: Judge, log: dict[str, list[Entry]], world: "TapedWorld") -> None:
        self.inner = judge
        self._log = log
        self._world = world

    def pane(self, record: Pane | Progress, timestamp: int) -> list[Alert]:
        self._world.records.append(record)
        self._note("metrics.panes", record, timestamp)
        return self.inner.pane(record, timestamp)

    def ack(self, record: Ack) -> None:
        self._note("control.acks", record, self._world.now)
        self.inner.ack(record)

    def command(self, record: CommandRecord, offset: int, timestamp: int | None = None) -> None:
        if offset == len(self._log["control.commands"]):
            self._note("control.commands", record, timestamp or record.ts)
        self.inner.command(record, offset, timestamp)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def _note(self, topic: str, record: Record, timestamp: int) -> None:
        entries = self._log[topic]
        entries.append(Entry(0, len(entries), timestamp, None, ENCODER.encode(record), ()))


class TapedWorld(World):
    """The judge is told of `forget` and of written checkpoints every second, as the stage does."""

    def __init__(self, policy: Mapping[str, object] | None = None, seed: int = 0) -> None:
        super().__init__(policy, seed)
        self.log: dict[str, list[Entry]] = {
            "control.policies": [], "metrics.panes": [], "control.acks": [], "control.commands": [],
        }  # fmt: skip
        record = PolicyRecord(
            model="ranker",
            ts=START,
            policy=msgspec.Raw(msgspec.json.encode(policies.to_object(self.policy))),
            actor="olga",
        )
        self.log["control.policies"].append(Entry(0, 0, START, None, ENCODER.encode(record), ()))
        self.judge = Tape(self.judge, self.log, self)  # type: ignore[assignment]
        self.records: list[Pane | Progress] = []
        """`metrics.panes`, decoded."""
        self.written: dict[str, Checkpoint] = {}
        self.safe = 0
        self.floor = BEGINNING
        self.starts = 0

    @property
    def positions(self) -> dict[str, dict[str, int]]:
        return {topic: {"0": len(entries)} for topic, entries in self.log.items()}

    def decide(self) -> Decisions:
        decisions = self.judge.decide(self.now, self.positions)
        self.releases += decisions.releases
        self.alerts += decisions.alerts
        self.checkpoints += decisions.checkpoints
        self.write(decisions.checkpoints)
        self.judge.forget(self.now)
        self.commit()
        return decisions

    def write(self, checkpoints: Iterable[Checkpoint]) -> None:
        """Through bytes, as the topic does."""
        for checkpoint in checkpoints:
            value = ENCODER.encode(checkpoint)
            self.written[checkpoint.model] = msgspec.json.decode(value, type=Checkpoint)
            self.judge.secure(checkpoint)

    def commit(self) -> None:
        """What the stage would commit now: the first offset of the oldest pane that is needed."""
        floor = self.judge.needed()
        if floor is None:
            return
        needed = (
            offset
            for offset, record in enumerate(self.records[self.safe :], self.safe)
            if isinstance(record, Pane) and record.start >= floor
        )
        self.safe, self.floor = next(needed, len(self.log["metrics.panes"])), floor

    def restart(self, acks_since: int = 60_000) -> int:
        """Another judge takes over, in the midst of everything; answers how many panes' records it reads."""
        judge = Judge(0, self._timeline, self.floor, self.profiles)
        for checkpoint in self.written.values():
            judge.recall(checkpoint)
        if self.releases:
            value = ENCODER.encode(self.release)
            judge.adopt(msgspec.json.decode(value, type=type(self.release)))
        for offset, entry in enumerate(self.log["control.commands"]):
            judge.command(msgspec.json.decode(entry.value or b"", type=CommandRecord), offset)
        for entry in self.log["control.acks"]:
            if entry.timestamp >= self.now - acks_since:
                judge.ack(msgspec.json.decode(entry.value or b"", type=Ack))
        for record, entry in zip(self.records, self.log["metrics.panes"], strict=True):
            if entry.offset >= self.safe:
                judge.pane(record, entry.timestamp)
        self.judge.inner = judge  # type: ignore[attr-defined]
        self.starts += 1
        return len(self.log["metrics.panes"]) - self.safe

    def verified(self) -> list[Verified]:
        """Each decision so far, made again from the log alone."""
        releases = [
            msgspec.json.decode(ENCODER.encode(record), type=type(record)) for record in self.releases
        ]
        inputs = Inputs(
            self.log["control.policies"],
            self.log["metrics.panes"],
            self.log["control.acks"],
            self.log["control.commands"],
        )
        return list(verify("ranker", 0, releases, inputs))
