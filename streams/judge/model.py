"""One model in the judge: its rules, its workers, its release, and the checkpoint that says how they stand.

Pure, as `core.Judge` is, which has one of these for each model that it has heard of.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from schemas import topics
from schemas.records import Alert, CommandRecord, Release
from schemas.timeline import Timeline
from streams.judge.facts.maturity import HOUR, Delays
from streams.judge.facts.panes import Clocks
from streams.judge.facts.workers import Workers
from streams.judge.releases import admission, escalation, release, report
from streams.judge.releases.admission import Known
from streams.judge.releases.checkpoint import Checkpoint, Refusal
from streams.judge.releases.commands import Order, RefusedError
from streams.judge.releases.conduct import Conductor
from streams.judge.releases.escalation import Escalation, Forgeries
from streams.judge.releases.release import Positions
from streams.judge.releases.strays import Strays
from streams.judge.rules.drift import Drift
from streams.judge.rules.watch import Watch
from streams.metrics.profiles import Profiles

COMMANDS = 200
"""So many commands of a model are recognised when they come again."""
HISTORY = 10
"""So many decisions of a model are kept in its checkpoint."""
PACE = 5_000
"""Milliseconds between two checkpoints of a model while nothing is decided."""
REFUSALS = 20
"""So many refused commands of a model are kept in its checkpoint."""


class Look(NamedTuple):
    """When decisions are made: at wall time `now` (ms), all records below `positions` being known.
    `partition` is the number of the inputs' partitions.
    """

    now: int
    positions: Positions
    partition: str

    def as_of(self, commands: int | None) -> Positions:
        """`positions`, with commands known below another offset, where one is given."""
        if commands is None:
            return self.positions
        return {**self.positions, topics.COMMANDS.name: {self.partition: commands}}


class Model:
    """All that the judge holds of one model."""

    def __init__(
        self,
        name: str,
        timeline: Timeline,
        profiles: Profiles,
        floor: int,
        checkpoint: Checkpoint | None,
        clocks: Clocks,
    ) -> None:
        self.name = name
        self.checkpoint = checkpoint or Checkpoint(model=name, ts=0)
        self._delays = Delays(self.checkpoint.delays, self.checkpoint.counted)
        self.watch = Watch(name, timeline, floor, self._delays, Drift(name, profiles))
        self.workers = Workers()
        self.conductor = Conductor(name, self.watch, self.workers, timeline, clocks)
        self.conductor.recall(self.checkpoint)
        self.conductor.course = self.checkpoint.course
        self.escalation = Escalation(self.checkpoint.firing)
        self.commands: list[Order] = []
        self.strays = Strays()
        self.forgeries = Forgeries(name)
        self._clocks = clocks
        self._resolves: list[Alert] = []
        self._taken_over = False
        self._history = self.checkpoint.history
        self._told = False
        """Something is known that the checkpoint does not say yet."""

    @property
    def generation(self) -> int:
        """The one that stands; 0 where none does."""
        return 0 if self.conductor.standing is None else self.conductor.standing.release.generation

    def handled(self, partition: str) -> int:
        """Commands of that partition below this offset are done with."""
        standing = self.conductor.standing
        known = {} if standing is None else release.as_of(standing.release)
        return max(known.get(topics.COMMANDS.name, {}).get(partition, 0), self.checkpoint.handled)

    def seen(self) -> set[str]:
        """The ids of the commands that would be repetitions."""
        standing = self.conductor.standing
        last = None if standing is None else release.said(standing.release, "command_id", str)
        return {*self.checkpoint.commands, *(() if last is None else (last,))}

    def hear(self, record: Release) -> None:
        """A release record of the log, the judge's own or somebody's who forced it."""
        standing = self.conductor.standing
        if standing is not None and record.generation <= standing.release.generation:
            return  # the judge's own, read back: what it resolves is resolved
        self._adopt(record)
        before = release.said(record, "resolves", Alert)
        if before is not None:
            self._resolves.append(before)

    def conduct(self, look: Look, known: Callable[[], Known], releases: list[Release]) -> list[Refusal]:
        """The transitions that are due, each adopted and put into `releases`; answers the commands that were
        refused. `known` says what is known besides the release when something is asked of it.
        """
        conductor, horizon, now = self.conductor, self._clocks.horizon, look.now
        refusals: list[Refusal] = []
        record = conductor.roll_back(now, look.as_of(self._pending()), horizon)
        if record is not None:
            self._issue(record, releases)
        while self.commands:
            order = self.commands[0]
            command, so_far = order.command, known()
            if admission.waits(self.commands, conductor.standing, so_far, now):
                break
            try:
                admission.check(order, conductor.standing, so_far, now)
                self._issue(conductor.carry_out(command, now, look.as_of(order.offset + 1)), releases)
            except RefusedError as refused:
                refusals.append(_refusal(command, str(refused), now))
            del self.commands[0]
            self.checkpoint.handled = order.offset + 1
            self.checkpoint.commands = (*self.checkpoint.commands, command.command_id)[-COMMANDS:]
            self._told = True
        before = conductor.course
        record = conductor.go_on(now, look.as_of(self._pending()), horizon)
        self._told = self._told or conductor.course is not before
        if record is not None:
            self._issue(record, releases)
        return refusals

    def escalate(self, now: int) -> list[Alert]:
        """The alerts about the release and its workers that begin or end; those that a predecessor may not
        have ended, too.
        """
        standing = self.conductor.standing
        due = [*escalation.conditions(standing, self.conductor.course), *self.forgeries.due(now)]
        due += escalation.beside(standing, self.conductor.beside(now), now)
        if standing is not None:
            due += escalation.missing(standing, self.workers, self.conductor.case.patience, now)
        over, self._resolves = self._resolves, []
        if standing is not None and not self._taken_over:
            over += escalation.overcome(standing, self.workers, self.conductor.case.patience, now)
        self._taken_over = True
        firing = {alert.alert_id for alert in due}
        ended = self.escalation.end([alert for alert in over if alert.alert_id not in firing], now)
        changed = ended + self.escalation.update(due, now)
        self._told = self._told or bool(changed)
        return changed

    def outdated(self, look: Look) -> bool:
        """Whether a successor would be glad of a new checkpoint."""
        return self._told or self._counted_an_hour() or self._moved(look)

    def conclude(self, refusals: Sequence[Refusal], look: Look) -> Checkpoint:
        """Takes down how things stand, and what was refused since the last time."""
        self._told = False
        conductor = self.conductor
        if conductor.standing is not None:
            conductor.fold(look.now, self._clocks.horizon)
        self.checkpoint = msgspec.structs.replace(
            self.checkpoint,
            ts=look.now,
            refusals=(*self.checkpoint.refusals, *refusals)[-REFUSALS:],
            delays={hour: dict(counts) for hour, counts in self._delays.hours.items()},
            counted=self._delays.counted,
            firing=self.escalation.firing,
            course=conductor.course,
            shadow=conductor.shadow,
            beside=conductor.beside(look.now),
            folded=conductor.case.keep(),
            heard=dict(conductor.presence.versions),
            unanswered=conductor.presence.unanswered,
            settled=conductor.case.settled,
            closed=self._clocks.closed(),
            as_of={topic: dict(offsets) for topic, offsets in look.positions.items()},
            history=self._history,
            outlook=conductor.outlook(look.now),
        )
        return self.checkpoint

    def _pending(self) -> int | None:
        """The offset of the first command that is not carried out yet."""
        return self.commands[0].offset if self.commands else None

    def _issue(self, record: Release, releases: list[Release]) -> None:
        releases.append(record)
        self._adopt(record)

    def _adopt(self, record: Release) -> None:
        self.conductor.adopt(record)
        for ack in self.strays.known(record.generation):
            self.workers.take(ack)
        last = self._history[-1].generation if self._history else -1
        if record.generation > last:
            self._history = (*self._history, report.turn(record))[-HISTORY:]
            self._told = True

    def _counted_an_hour(self) -> bool:
        """Whether an hour of click delays has been counted since the checkpoint."""
        delays = self._delays
        return delays.counted // HOUR > self.checkpoint.counted // HOUR and bool(delays.counts())

    def _moved(self, look: Look) -> bool:
        """Whether a release runs, more of its inputs is known than its checkpoint says, and that is some
        seconds old.
        """
        checkpoint, standing = self.checkpoint, self.conductor.standing
        runs = standing is not None and (standing.runs or standing.release.shadow is not None)
        return runs and look.now >= checkpoint.ts + PACE and checkpoint.as_of != look.positions


def _refusal(command: CommandRecord, reason: str, now: int) -> Refusal:
    return Refusal(command.command_id, command.command, command.actor, now, reason, command.version)
