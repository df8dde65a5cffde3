"""The judge of one partition of the model-keyed topics: panes, commands and acks in; releases, alerts and
checkpoints out.

Pure: no Kafka, no clock, no I/O. `stage.py` runs it live, with wall time as `now`; a replay runs it with
event time.
"""

from collections.abc import Collection, Iterator
from typing import NamedTuple

import msgspec

from schemas import topics
from schemas.records import Ack, Alert, CommandRecord, Detection, Pane, PaneRecord, Release
from schemas.timeline import BEGINNING, Timeline
from streams.judge.facts import panes
from streams.judge.facts.maturity import HOUR, Delays
from streams.judge.facts.panes import Clocks
from streams.judge.facts.workers import Workers
from streams.judge.releases import admission, escalation, report
from streams.judge.releases.admission import Known
from streams.judge.releases.checkpoint import Checkpoint, Refusal
from streams.judge.releases.commands import Order, RefusedError
from streams.judge.releases.conduct import Conductor
from streams.judge.releases.escalation import Escalation, Forgeries
from streams.judge.releases.release import Positions
from streams.judge.releases.strays import Stray, Strays
from streams.judge.rules.drift import Drift
from streams.judge.rules.memory import Firing, History, Remembered
from streams.judge.rules.watch import Watch
from streams.metrics.profiles import Profiles
from streams.stage import Record

END = 1 << 60
"""A time (ms) that is past every deadline."""
COMMANDS = 200
"""So many commands of a model are recognised when they come again."""
HISTORY = 10
"""So many decisions of a model are kept in its checkpoint."""
PACE = 5_000
"""Milliseconds between two checkpoints of a model while nothing is decided."""
REFUSALS = 20
"""So many refused commands of a model are kept in its checkpoint."""


class Decisions(NamedTuple):
    """What is to be written, in this order: traffic first. `handed` are the checkpoints that go with the
    releases; they do not know yet of the alerts that follow, with the `checkpoints` of all models.
    """

    releases: list[Release]
    handed: list[Checkpoint]
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
        clocks: Clocks,
    ) -> None:
        self.name = name
        self.checkpoint = checkpoint or Checkpoint(model=name, ts=0)
        self.delays = Delays(self.checkpoint.delays, self.checkpoint.counted)
        self.watch = Watch(name, timeline, floor, self.delays, Drift(name, profiles))
        self.workers = Workers()
        self.conductor = Conductor(name, self.watch, self.workers, timeline, clocks)
        self.conductor.recall(self.checkpoint)
        self.conductor.course = self.checkpoint.course
        self.escalation = Escalation(self.checkpoint.firing)
        self.commands: list[Order] = []
        self.resolves: list[Alert] = []
        self.taken_over = False
        self.history = self.checkpoint.history
        self.strays = Strays()
        self.forgeries = Forgeries(name)
        self.told = False
        """Something is known that the checkpoint does not say yet."""

    @property
    def generation(self) -> int:
        """The one that stands; 0 where none does."""
        return 0 if self.conductor.standing is None else self.conductor.standing.release.generation


class Judge:
    """`partition` is the number of all its topics' partitions; `floor` the event time (ms) from which on its
    panes are whole. `profiles` are those of all versions, as far as they are known.
    """

    def __init__(
        self,
        partition: int,
        timeline: Timeline,
        floor: int = BEGINNING,
        profiles: Profiles | None = None,
        dashboard: str = "",
    ) -> None:
        self._partition = str(partition)
        self._timeline = timeline
        self._profiles = Profiles() if profiles is None else profiles
        self.floor = floor
        self._clocks = Clocks()
        self._models: dict[str, Model] = {}
        self._checkpoints: dict[str, Checkpoint] = {}
        self._doubted = BEGINNING
        self._dashboard = dashboard

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

    def remember(self, record: Remembered) -> None:
        """What a predecessor's rules remembered, the newest of each key; all of it before any pane."""
        self._model(record.model).watch.remember(record)

    def histories(self) -> Iterator[tuple[str, History | None]]:
        """What rules have come to remember, by key, None where it is to be forgotten. It may be written at
        any time, and counts as written when this is asked again.
        """
        for model in self._models.values():
            yield from model.watch.histories()

    def firings(self) -> Iterator[Firing]:
        """Which alerts of rules fire, of models where that has changed. To be written together with all
        alerts that were answered until now.
        """
        for model in self._models.values():
            firing = model.watch.firing()
            if firing is not None:
                yield firing

    def relearns(self) -> int | None:
        """The start (ms) of the oldest pane whose `Detection` a successor must `relearn`."""
        marks = (model.watch.drift.needed() for model in self._models.values())
        return min((mark for mark in marks if mark is not None), default=None)

    def doubt(self, before: int) -> None:
        """Panes that start before this event time (ms) are not known whole: the log begins in their midst."""
        self.floor = max(self.floor, before)
        self._doubted = max(self._doubted, before)
        for model in self._models.values():
            model.watch.doubt(before)
            model.conductor.doubt(before)

    def expect(self, model: str) -> None:
        """A model that belongs to this partition is watched even if it has fallen silent."""
        self._model(model).watch.expect()

    def adopt(self, record: Release) -> None:
        """A release record of the log, the judge's own or somebody's who forced it."""
        model = self._model(record.model)
        standing = model.conductor.standing
        if standing is not None and record.generation <= standing.release.generation:
            return  # the judge's own, read back: what it resolves is resolved
        self._adopt(model, record)
        before = (record.evidence or {}).get("resolves")
        if before is not None:
            model.resolves.append(msgspec.convert(before, Alert))

    def stand(self, record: Release) -> None:
        """`record` is what stands, even if this judge has decided otherwise: it is asked about the past."""
        self._model(record.model).conductor.stand(record)

    def pane(self, record: PaneRecord, timestamp: int) -> list[Alert]:
        """A record of `metrics.panes` with its Kafka timestamp (ms); answers the rules' alerts.

        Raises ValueError for one that contradicts itself, or is from the future; nothing is changed then.
        """
        panes.check(record, timestamp)
        if isinstance(record, Pane):
            model = self._model(record.model)
            raised, alerts = model.watch.take(record, self._clocks.horizon)
            if record.start >= self.floor:
                model.conductor.hear(record, raised, timestamp)
            else:  # it may have been heard of before; the checkpoint says so
                model.conductor.stir()
            return alerts
        before = (self._clocks.time, self._clocks.horizon)
        self._clocks.take(record, timestamp)
        time, horizon = self._clocks.time, self._clocks.horizon
        if time is None or (time, horizon) == before:
            return []
        found = []
        for model in self._models.values():
            found += model.watch.advance(time, horizon)
            model.conductor.stir()
        return found

    def leave_out(self, model: str, before: int) -> None:
        """Evidence about the model's release is without panes that start before this event time (ms)."""
        self._model(model).conductor.doubt(before)

    def reread(self, record: PaneRecord, timestamp: int, models: Collection[str]) -> None:
        """A record of below `floor` that was read long ago, for the sake of the `lost` evidence about some
        models' releases.
        """
        if isinstance(record, Pane):
            if record.model in models and record.start < self.floor:
                self.pane(record, timestamp)
            return
        self._clocks.take(record, timestamp)
        time = self._clocks.time
        if time is not None:
            for name in models:
                self._model(name).watch.panes.finish(time)

    def close(self) -> None:
        """There will be no more records: every pane that is known is final now, and time stands still."""
        for model in self._models.values():
            model.watch.advance(END, None)
            model.conductor.stir()

    def ack(self, record: Ack, origin: Record | None = None) -> None:
        """A worker's word, and the record that it came in; of a generation that is not known, it waits for
        that.
        """
        model = self._model(record.model)
        model.conductor.case.settle(record.ts)
        if record.generation > model.generation:
            record = model.strays.hold(record, origin)
        model.workers.take(record)

    def dismiss(self, model: str, worker: str) -> None:
        """Forgets a worker: it only stood in for others, which have been heard of now."""
        self._model(model).workers.dismiss(worker)

    def strays(self, now: int) -> list[tuple[Stray, str]]:
        """Acks of generations that there never were, each once, and what is wrong with them."""
        return [
            (stray, stray.reason(model.generation))
            for model in self._models.values()
            for stray in model.strays.overdue(now)
        ]

    def forged(self, model: str, topic: str, timestamp: int, reason: str) -> None:
        """A record about `model` without a good signature came to `topic` at Kafka time `timestamp` (ms)."""
        self._model(model).forgeries.note(topic, timestamp, reason)

    def command(
        self, record: CommandRecord, offset: int, timestamp: int | None = None, forged: str | None = None
    ) -> None:
        """An operator's command with its Kafka timestamp (ms; its `ts` where absent), to be carried out at a
        `decide` to come; one that a predecessor has dealt with is left alone. `forged` says what is wrong
        with its signature.
        """
        model = self._model(record.model)
        if offset >= self._handled(model):
            timestamp = record.ts if timestamp is None else timestamp
            model.commands.append(Order(offset, record, timestamp, forged))
            if forged is not None:
                said = f"{record.command} by {record.actor}: {forged}"
                model.forgeries.note(topics.COMMANDS.name, timestamp, said)

    def pending(self) -> int | None:
        """The offset of the first command that is not carried out yet."""
        return min((offset for model in self._models.values() for offset, *_ in model.commands), default=None)

    def decide(self, now: int, positions: Positions) -> Decisions:
        """What is due at `now` (wall ms), all records below `positions` being known.

        The releases are adopted at once: a caller that cannot write them must not go on.
        """
        decisions = Decisions([], [], [], [])
        for model in self._models.values():
            firing, decided = model.checkpoint.firing, len(decisions.releases)
            refusals = list(self._conduct(model, now, positions, decisions.releases))
            decisions.alerts.extend(self._escalate(model, now))
            if refusals or model.told or self._outdated(model) or self._moved(model, now, positions):
                decisions.checkpoints.append(self._checkpoint(model, refusals, now, positions))
            if len(decisions.releases) > decided:
                decisions.handed.append(msgspec.structs.replace(model.checkpoint, firing=firing))
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

    def secure(self, checkpoint: Checkpoint) -> None:
        """`checkpoint` has been written: a successor needs nothing that it says."""
        self._model(checkpoint.model).conductor.secure(checkpoint.folded, checkpoint.shadow)

    def lost(self) -> dict[str, int]:
        """Models with a release about which a predecessor's checkpoint does not say all that it ought to, and
        the event time (ms) from which on their panes have to be read again, although they are below `floor`.
        """
        wanted = {name: model.conductor.oldest for name, model in self._models.items()}
        return {name: at for name, at in wanted.items() if at is not None and at < self.floor}

    def forget(self, now: int) -> None:
        """Drops what neither a running release nor a rule's window can need."""
        horizon = self._clocks.horizon
        for model in self._models.values():
            model.conductor.fold(now, horizon)
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
        as_of = self._as_of(positions, model.commands[0].offset if model.commands else None)
        record = conductor.roll_back(now, as_of, horizon)
        if record is not None:
            self._issue(model, record, releases)
        while model.commands:
            order = model.commands[0]
            command, known = order.command, self._known(model, now)
            if admission.waits(model.commands, conductor.standing, known, now):
                break
            as_of = self._as_of(positions, order.offset + 1)
            try:
                admission.check(order, conductor.standing, known, now)
                self._issue(model, conductor.carry_out(command, now, as_of), releases)
            except RefusedError as refused:
                yield Refusal(
                    command.command_id, command.command, command.actor, now, str(refused), command.version
                )
            del model.commands[0]
            model.checkpoint.handled = order.offset + 1
            model.checkpoint.commands = (*model.checkpoint.commands, command.command_id)[-COMMANDS:]
            model.told = True
        as_of = self._as_of(positions, model.commands[0].offset if model.commands else None)
        before = conductor.course
        record = conductor.go_on(now, as_of, horizon)
        model.told = model.told or conductor.course is not before
        if record is not None:
            self._issue(model, record, releases)

    def _known(self, model: Model, now: int) -> Known:
        """What is known of a model besides its release, when something is asked of it."""
        standing = model.conductor.standing
        evidence = {} if standing is None else standing.release.evidence or {}
        seen = {*model.checkpoint.commands, str(evidence.get("command_id"))}
        live = {name for name, other in self._models.items() if any(other.workers.live(now))}
        told = model.name in live or model.name in self._timeline.models() or any(model.watch.panes.all())
        return Known(seen, () if told else live, model.workers.available(now))

    def _issue(self, model: Model, record: Release, releases: list[Release]) -> None:
        releases.append(record)
        self._adopt(model, record)

    def _adopt(self, model: Model, record: Release) -> None:
        model.conductor.adopt(record)
        for ack in model.strays.known(record.generation):
            model.workers.take(ack)
        last = model.history[-1].generation if model.history else -1
        if record.generation > last:
            model.history = (*model.history, report.turn(record))[-HISTORY:]
            model.told = True

    def _escalate(self, model: Model, now: int) -> list[Alert]:
        """The alerts about the release and its workers that begin or end; those that a predecessor may not
        have ended, too.
        """
        standing = model.conductor.standing
        due = [*escalation.conditions(standing, model.conductor.course), *model.forgeries.due(now)]
        due += escalation.beside(standing, model.conductor.beside(now), now)
        if standing is not None:
            due += escalation.missing(standing, model.workers, model.conductor.case.patience, now)
        over, model.resolves = model.resolves, []
        if standing is not None and not model.taken_over:
            over += escalation.overcome(standing, model.workers, model.conductor.case.patience, now)
        model.taken_over = True
        firing = {alert.alert_id for alert in due}
        ended = model.escalation.end([alert for alert in over if alert.alert_id not in firing], now)
        changed = ended + model.escalation.update(due, now)
        model.told = model.told or bool(changed)
        return changed

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

    def _moved(self, model: Model, now: int, positions: Positions) -> bool:
        """Whether a release runs, more of its inputs is known than its checkpoint says, and that is some
        seconds old.
        """
        checkpoint, standing = model.checkpoint, model.conductor.standing
        runs = standing is not None and (standing.runs or standing.release.shadow is not None)
        return runs and now >= checkpoint.ts + PACE and checkpoint.as_of != positions

    def _checkpoint(
        self, model: Model, refusals: list[Refusal], now: int, positions: Positions
    ) -> Checkpoint:
        model.told = False
        conductor = model.conductor
        if conductor.standing is not None:
            conductor.fold(now, self._clocks.horizon)
        model.checkpoint = msgspec.structs.replace(
            model.checkpoint,
            ts=now,
            refusals=(*model.checkpoint.refusals, *refusals)[-REFUSALS:],
            delays={hour: dict(counts) for hour, counts in model.delays.hours.items()},
            counted=model.delays.counted,
            firing=model.escalation.firing,
            course=conductor.course,
            shadow=conductor.shadow,
            beside=conductor.beside(now),
            folded=conductor.case.keep(),
            heard=dict(conductor.presence.versions),
            unanswered=conductor.presence.unanswered,
            settled=conductor.case.settled,
            closed=self._clocks.closed(),
            as_of={topic: dict(offsets) for topic, offsets in positions.items()},
            history=model.history,
            outlook=conductor.outlook(now),
        )
        return model.checkpoint

    def _model(self, name: str) -> Model:
        model = self._models.get(name)
        if model is None:
            model = self._models[name] = Model(
                name, self._timeline, self._profiles, self.floor, self._checkpoints.get(name), self._clocks
            )
            model.conductor.doubt(self._doubted)
            model.conductor.dashboard, model.conductor.profiles = self._dashboard, self._profiles
        return model
