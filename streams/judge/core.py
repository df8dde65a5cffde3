"""The judge of one partition of the model-keyed topics: panes, commands and acks in; releases, alerts and
checkpoints out.

Pure: no Kafka, no clock, no I/O. `stage.py` runs it live, with wall time as `now`; a replay runs it with
event time.
"""

from collections.abc import Collection, Iterator
from functools import partial
from typing import NamedTuple

import msgspec

from schemas import topics
from schemas.records import Ack, Alert, CommandRecord, Detection, Pane, PaneRecord, Release
from schemas.timeline import BEGINNING, Timeline
from streams.judge.facts import panes
from streams.judge.facts.panes import Clocks
from streams.judge.model import Look, Model
from streams.judge.releases.admission import Known
from streams.judge.releases.checkpoint import Checkpoint
from streams.judge.releases.commands import Order
from streams.judge.releases.release import Positions
from streams.judge.releases.strays import Stray
from streams.judge.rules.memory import Firing, History, Remembered
from streams.metrics import tallies
from streams.metrics.profiles import Profiles
from streams.metrics.tallies import Tally
from streams.stage import Record

END = 1 << 60
"""A time (ms) that is past every deadline."""


class Decisions(NamedTuple):
    """What is to be written, in this order: traffic first. `handed` are the checkpoints that go with the
    releases; they do not know yet of the alerts that follow, with the `checkpoints` of all models.
    """

    releases: list[Release]
    handed: list[Checkpoint]
    alerts: list[Alert]
    checkpoints: list[Checkpoint]


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
        self._model(record.model).hear(record)

    def stand(self, record: Release) -> None:
        """`record` is what stands, even if this judge has decided otherwise: it is asked about the past."""
        self._model(record.model).conductor.stand(record)

    def pane(self, record: PaneRecord, timestamp: int) -> list[Alert]:
        """A record of `metrics.panes` with its Kafka timestamp (ms); answers the rules' alerts.

        Raises ValueError for one that contradicts itself, or is from the future; nothing is changed then.
        """
        if isinstance(record, Pane):
            return self.snapshot(record, tallies.of(record), timestamp)
        panes.check(record, timestamp)
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

    def snapshot(self, pane: Pane, tally: Tally, timestamp: int) -> list[Alert]:
        """As `pane`, with what the snapshot says; `pane` itself may leave out what is no sum."""
        panes.check(pane, timestamp)
        model = self._model(pane.model)
        raised, alerts = model.watch.take(pane, tally, self._clocks.horizon)
        if pane.start >= self.floor:
            model.conductor.hear(pane, raised, timestamp)
        else:  # it may have been heard of before; the checkpoint says so
            model.conductor.stir()
        return alerts

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
        if offset >= model.handled(self._partition):
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
        look = Look(now, positions, self._partition)
        for model in self._models.values():
            firing, decided = model.checkpoint.firing, len(decisions.releases)
            refusals = model.conduct(look, partial(self._known, model, now), decisions.releases)
            decisions.alerts.extend(model.escalate(now))
            if refusals or model.outdated(look):
                decisions.checkpoints.append(model.conclude(refusals, look))
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

    def _known(self, model: Model, now: int) -> Known:
        """What is known of a model besides its release, when something is asked of it."""
        live = {name for name, other in self._models.items() if any(other.workers.live(now))}
        told = model.name in live or model.name in self._timeline.models() or any(model.watch.panes.all())
        return Known(model.seen(), () if told else live, model.workers.available(now))

    def _model(self, name: str) -> Model:
        model = self._models.get(name)
        if model is None:
            model = self._models[name] = Model(
                name, self._timeline, self._profiles, self.floor, self._checkpoints.get(name), self._clocks
            )
            model.conductor.doubt(self._doubted)
            model.conductor.dashboard, model.conductor.profiles = self._dashboard, self._profiles
        return model
