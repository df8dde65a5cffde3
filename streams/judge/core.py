"""The judge of one partition of the model-keyed topics: panes, commands and acks in; releases, alerts and
checkpoints out.

Pure: no Kafka, no clock, no I/O. `stage.py` runs it live, with wall time as `now`; a replay runs it with
event time.
"""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from schemas import topics
from schemas.records import Ack, Alert, CommandRecord, Detection, Pane, PaneRecord, Release
from schemas.timeline import BEGINNING, Timeline
from streams.judge import escalation
from streams.judge.checkpoint import Checkpoint, Refusal
from streams.judge.commands import RefusedError
from streams.judge.conduct import Conductor
from streams.judge.drift import Drift
from streams.judge.escalation import Escalation
from streams.judge.maturity import HOUR, Delays
from streams.judge.panes import Clocks
from streams.judge.release import Positions
from streams.judge.watch import Watch
from streams.judge.workers import Workers
from streams.metrics.profiles import Profiles

REFUSALS = 20
"""So many refused commands of a model are kept in its checkpoint."""


class Decisions(NamedTuple):
    """What is to be written, in this order: traffic first."""

    releases: list[Release]
    alerts: list[Alert]
    checkpoints: list[Checkpoint]


class Model:
    """All that the judge holds of one model."""

    def __init__(
        self,
        name: str,
        timeline: Timeline,
        profiles: Profiles,
        floor: int,
        checkpoint: Checkpoint | None,
    ) -> None:
        self.checkpoint = checkpoint or Checkpoint(model=name, ts=0)
        self.delays = Delays(self.checkpoint.delays, self.checkpoint.counted)
        self.watch = Watch(name, timeline, floor, self.delays, Drift(name, profiles))
        self.workers = Workers()
        self.conductor = Conductor(name, self.watch, self.workers, timeline)
        self.escalation = Escalation()
        self.commands: list[tuple[int, CommandRecord]] = []
        self.resolves: list[Alert] = []
        self.taken_over = False


class Judge:
    """`partition` is the number of all its topics' partitions; `floor` the event time (ms) from which on its
    panes are whole. `profiles` are those of all versions, as far as they are known.
    """

    def __init__(
        self, partition: int, timeline: Timeline, floor: int = BEGINNING, profiles: Profiles | None = None
    ) -> None:
        self._partition = str(partition)
        self._timeline = timeline
        self._profiles = Profiles() if profiles is None else profiles
        self.floor = floor
        self._clocks = Clocks()
        self._models: dict[str, Model] = {}
        self._checkpoints: dict[str, Checkpoint] = {}

    @property
    def horizon(self) -> int | None:
        """The event time (ms) that all sources with data have reached; None until that is known."""
        return self._clocks.horizon

    @property
    def models(self) -> int:
        """How many models there are."""
        return len(self._models)

    def open_alerts(self) -> int:
        """How many rules fire."""
        return sum(model.watch.open_alerts() for model in self._models.values())

    def recall(self, checkpoint: Checkpoint) -> None:
        """A predecessor's checkpoint; all of them come before anything else."""
        self._checkpoints[checkpoint.model] = checkpoint

    def relearn(self, detection: Detection) -> None:
        """What a predecessor's change detectors saw, in its order; all of it before any pane."""
        self._model(detection.model).watch.drift.recall(detection)

    def detections(self) -> list[Detection]:
        """What the change detectors have seen since this was last asked: it may be written at any time, for
        it is a function of final panes alone.
        """
        return [found for model in self._models.values() for found in model.watch.drift.news()]

    def relearns(self) -> int | None:
        """The start (ms) of the oldest pane whose `Detection` a successor must `relearn`."""
        marks = (model.watch.drift.needed() for model in self._models.values())
        return min((mark for mark in marks if mark is not None), default=None)

    def doubt(self, before: int) -> None:
        """Panes that start before this event time (ms) are not known whole: the log begins in their midst."""
        self.floor = max(self.floor, before)
        for model in self._models.values():
            model.watch.doubt(before)

    def expect(self, model: str) -> None:
        """A model that belongs to this partition is watched even if it has fallen silent."""
        self._model(model).watch.expect()

    def adopt(self, record: Release) -> None:
        """A release record of the log, the judge's own or somebody's who forced it."""
        model = self._model(record.model)
        standing = model.conductor.standing
        if standing is not None and record.generation <= standing.release.generation:
            return  # the judge's own, read back: what it resolves is resolved
        model.conductor.adopt(record)
        before = (record.evidence or {}).get("resolves")
        if before is not None:
            model.resolves.append(msgspec.convert(before, Alert))

    def pane(self, record: PaneRecord, timestamp: int) -> list[Alert]:
        """A record of `metrics.panes` with its Kafka timestamp (ms); answers the rules' alerts.

        Raises ValueError for one that contradicts itself.
        """
        if isinstance(record, Pane):
            model = self._model(record.model)
            raised, alerts = model.watch.take(record, self._clocks.horizon)
            model.conductor.hear(record, raised, timestamp)
            return alerts
        before = (self._clocks.time, self._clocks.horizon)
        self._clocks.take(record)
        time, horizon = self._clocks.time, self._clocks.horizon
        if time is None or (time, horizon) == before:
            return []
        found = []
        for model in self._models.values():
            found += model.watch.advance(time, horizon)
            model.conductor.stir()
        return found

    def ack(self, record: Ack) -> None:
        """A worker's word."""
        self._model(record.model).workers.take(record)

    def command(self, record: CommandRecord, offset: int) -> None:
        """An operator's command, to be carried out at the next `decide`; one that a predecessor has dealt
        with is left alone.
        """
        model = self._model(record.model)
        if offset >= self._handled(model):
            model.commands.append((offset, record))

    def pending(self) -> int | None:
        """The offset of the first command that is not carried out yet."""
        return min((offset for model in self._models.values() for offset, _ in model.commands), default=None)

    def decide(self, now: int, positions: Positions) -> Decisions:
        """What is due at `now` (wall ms), all records below `positions` being known.

        The releases are adopted at once: a caller that cannot write them must not go on.
        """
        decisions = Decisions([], [], [])
        for model in self._models.values():
            refusals = list(self._conduct(model, now, positions, decisions.releases))
            if refusals or self._outdated(model):
                decisions.checkpoints.append(self._checkpoint(model, refusals, now))
            decisions.alerts.extend(self._escalate(model, now))
        return decisions

    def needed(self) -> int | None:
        """The event time (ms) from which on a successor must read panes; None while that is not known."""
        horizon = self._clocks.horizon
        if horizon is None:
            return None
        marks = [horizon]
        for model in self._models.values():
            marks.append(model.watch.needed(horizon))
            if model.conductor.oldest is not None:
                marks.append(model.conductor.oldest)
        return min(marks)

    def forget(self, now: int) -> None:
        """Drops what neither a running release nor a rule's window can need."""
        horizon = self._clocks.horizon
        for model in self._models.values():
            model.workers.forget(now)
            if horizon is not None:
                model.watch.forget(int(min(horizon, model.conductor.unfolded)))

    def waiting_since(self) -> int | None:
        """When the oldest release came that a worker has yet to acknowledge after its deadline (ms)."""
        waiting = [m.conductor.standing for m in self._models.values() if m.escalation.waiting]
        return min((standing.release.ts for standing in waiting if standing is not None), default=None)

    def _conduct(
        self, model: Model, now: int, positions: Positions, releases: list[Release]
    ) -> Iterator[Refusal]:
        """The model's transitions, each adopted and put into `releases`; answers the commands that were
        refused.
        """
        conductor, horizon = model.conductor, self._clocks.horizon
        as_of = self._as_of(positions, model.commands[0][0] if model.commands else None)
        record = conductor.roll_back(now, as_of, horizon)
        if record is not None:
            self._issue(model, record, releases)
        for offset, command in model.commands:
            as_of = self._as_of(positions, offset + 1)
            try:
                self._issue(model, conductor.carry_out(command, now, as_of), releases)
            except RefusedError as refused:
                yield Refusal(
                    command.command_id, command.command, command.actor, now, str(refused), command.version
                )
            model.checkpoint.handled = offset + 1
        model.commands.clear()
        record = conductor.go_on(now, self._as_of(positions, None), horizon)
        if record is not None:
            self._issue(model, record, releases)

    def _issue(self, model: Model, record: Release, releases: list[Release]) -> None:
        releases.append(record)
        model.conductor.adopt(record)

    def _escalate(self, model: Model, now: int) -> list[Alert]:
        """The alerts about the release and its workers that begin or end; those that a predecessor may not
        have ended, too.
        """
        standing = model.conductor.standing
        due = [alert for alert in (escalation.condition(standing),) if alert is not None]
        if standing is not None:
            due += escalation.missing(standing, model.workers, model.conductor.patience, now)
        over, model.resolves = model.resolves, []
        if standing is not None and not model.taken_over:
            over += escalation.overcome(standing, model.workers, model.conductor.patience, now)
        model.taken_over = True
        firing = {alert.alert_id for alert in due}
        ended = model.escalation.end([alert for alert in over if alert.alert_id not in firing], now)
        return ended + model.escalation.update(due, now)

    def _as_of(self, positions: Positions, commands: int | None) -> Positions:
        if commands is None:
            return positions
        return {**positions, topics.COMMANDS.name: {self._partition: commands}}

    def _handled(self, model: Model) -> int:
        """Commands below this offset are done with."""
        standing = model.conductor.standing
        evidence = {} if standing is None else standing.release.evidence or {}
        as_of = evidence.get("as_of", {}).get(topics.COMMANDS.name, {}).get(self._partition, 0)
        return max(int(as_of), model.checkpoint.handled)

    def _outdated(self, model: Model) -> bool:
        """Whether an hour of click delays has been counted since the checkpoint."""
        return model.delays.counted // HOUR > model.checkpoint.counted // HOUR and bool(model.delays.counts())

    def _checkpoint(self, model: Model, refusals: list[Refusal], now: int) -> Checkpoint:
        model.checkpoint = Checkpoint(
            model=model.checkpoint.model,
            ts=now,
            handled=model.checkpoint.handled,
            refusals=(*model.checkpoint.refusals, *refusals)[-REFUSALS:],
            delays={hour: dict(counts) for hour, counts in model.delays.hours.items()},
            counted=model.delays.counted,
        )
        return model.checkpoint

    def _model(self, name: str) -> Model:
        model = self._models.get(name)
        if model is None:
            model = self._models[name] = Model(
                name, self._timeline, self._profiles, self.floor, self._checkpoints.get(name)
            )
        return model
