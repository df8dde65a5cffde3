"""Whether the decisions that stand in the log follow from it: each is made again from the panes, commands,
acks and policies below its `as_of`, at its recorded `now`, and held against its record.

Nothing of what the judge did in between is known here: neither its checkpoints, nor when it looked, nor when
it was started anew. Pure; reading the log is the caller's.
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from itertools import groupby
from typing import Any, NamedTuple

import msgspec

from schemas import topics
from schemas.errors import HeadgateError
from schemas.records import ENCODER, Ack, Codec, CommandRecord, Pane, PaneRecord, PolicyRecord, Release
from schemas.timeline import Timeline
from streams.judge.check import check
from streams.judge.core import Judge
from streams.judge.releases import release
from streams.judge.releases.release import Positions
from streams.log import Entry
from streams.metrics.profiles import Profiles

SWEEP = 5_000
"""Panes between two times of folding."""
ASIDE = frozenset({"drift", "link", "shadow"})
"""Parts of `evidence` that were written beside a decision, and that none rests on."""


class Result(StrEnum):
    """What became of making a decision again. `FORCED` ones were not the judge's; of `UNKNOWN` ones something
    that they rest on is no longer in the log.
    """

    SAME = "same"
    DIFFERENT = "different"
    FORCED = "forced"
    UNKNOWN = "unknown"


class Verified(msgspec.Struct, frozen=True):
    """One decision. `differences`: each place in the record, what was recorded and what was found; or why
    nothing can be said.
    """

    generation: int
    ts: int
    phase: str
    reason: str
    result: Result
    differences: tuple[str, ...] = ()


class Inputs(NamedTuple):
    """The judge's inputs, each in the order of its offsets; of one partition."""

    policies: Iterable[Entry]
    panes: Iterable[Entry]
    acks: Iterable[Entry]
    commands: Iterable[Entry]


def verify(model: str, partition: int, releases: Sequence[Release], inputs: Inputs) -> Iterator[Verified]:
    """Each of a model's release records, which come in the order of their generations."""
    carried_out = {(record.evidence or {}).get("command_id") for record in releases}
    witness = Witness(model, partition, inputs, frozenset(carried_out))
    generation = 0
    for _, several in groupby(releases, key=_occasion):
        group = list(several)
        evidence, as_of = group[-1].evidence or {}, release.as_of(group[-1])
        now = release.said(group[-1], "now", int)
        if now is None:
            why = ("it does not say what it was decided from",)
            yield from (_verified(record, Result.UNKNOWN, *why) for record in group)
        elif evidence.get("cause") == "force":
            yield from (_verified(record, Result.FORCED) for record in group)
        elif group[0].generation != generation + 1:
            why = (f"generation {group[0].generation - 1} is no longer in the log",)
            yield from (_verified(record, Result.UNKNOWN, *why) for record in group)
        elif missing := witness.hear(as_of, now):
            yield from (_verified(record, Result.UNKNOWN, missing) for record in group)
        else:
            yield from witness.compare(group, as_of, now)
        witness.judge.stand(group[-1])
        generation = group[-1].generation


class Witness:
    """A judge that is asked about the past. `commands` are the ids of those that were carried out: why others
    were refused at their time, no record says.
    """

    def __init__(self, model: str, partition: int, inputs: Inputs, commands: frozenset[object]) -> None:
        self._model = model
        self._carried_out = commands
        self._partition = str(partition)
        self._timeline = Timeline()
        self.judge = Judge(partition, self._timeline, profiles=Profiles())
        self._policies, self._panes, self._acks, self._commands = map(_Queue, inputs)
        self._policy_codec: Codec[PolicyRecord] = Codec(PolicyRecord)
        self._pane_codec: Codec[PaneRecord] = Codec(PaneRecord)
        self._ack_codec: Codec[Ack] = Codec(Ack)
        self._command_codec: Codec[CommandRecord] = Codec(CommandRecord)

    def hear(self, as_of: Positions, now: int) -> str | None:
        """Takes in what was known; answers what of it there is no more."""
        ends = {topic: offsets.get(self._partition, 0) for topic, offsets in as_of.items()}
        for entry in self._policies.below(ends.get(topics.POLICIES.name), now):
            self._take_policy(entry)
        for entry in self._commands.below(ends.get(topics.COMMANDS.name, 0), now):
            command = _decoded(self._command_codec, entry)
            ours = command is not None and command.model == self._model
            if ours and command.command_id in self._carried_out:
                self.judge.command(command, entry.offset, entry.timestamp)
        for entry in self._acks.below(ends.get(topics.ACKS.name, 0), now):
            ack = _decoded(self._ack_codec, entry)
            if ack is not None and ack.model == self._model:
                self.judge.ack(ack)
        for number, entry in enumerate(self._panes.below(ends.get(topics.PANES.name, 0), now)):
            self._take_pane(entry)
            if number % SWEEP == SWEEP - 1:
                self.judge.forget(entry.timestamp)
        begins = self._panes.first
        if begins is not None and begins > 0 and ends.get(topics.PANES.name, 0) > 0:
            return f"{topics.PANES.name} begins at offset {begins}: what was before is gone"
        return None

    def compare(self, group: Sequence[Release], as_of: Positions, now: int) -> Iterator[Verified]:
        """Decides, and holds what comes of it against the records of that moment."""
        decisions = self.judge.decide(now, as_of)
        found = [record for record in decisions.releases if record.model == self._model]
        self.judge.forget(now)
        for index, record in enumerate(group):
            if index >= len(found):
                yield _verified(record, Result.DIFFERENT, "nothing is decided")
                continue
            differences = tuple(_differences("", _plain(record), _plain(found[index])))
            yield _verified(record, Result.DIFFERENT if differences else Result.SAME, *differences)

    def _take_policy(self, entry: Entry) -> None:
        try:
            policy = Timeline().read(entry.value, entry.timestamp)
            check(policy)
            written = self._policy_codec.decode(entry.value).ts
        except HeadgateError:
            return  # the judge has left it alone, too
        plain = msgspec.structs.replace(policy, rules=())  # no release rests on them
        self._timeline.add(plain, max(written, entry.timestamp))

    def _take_pane(self, entry: Entry) -> None:
        record = _decoded(self._pane_codec, entry)
        if record is None or (isinstance(record, Pane) and record.model != self._model):
            return
        try:
            self.judge.pane(record, entry.timestamp)
        except ValueError:
            return  # it is a dead letter


class _Queue:
    """Records that are taken up to an offset, and on from there. `first` is the offset of the first one."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = iter(entries)
        self._next: Entry | None = next(self._entries, None)
        self.first = None if self._next is None else self._next.offset

    def below(self, end: int | None, now: int) -> Iterator[Entry]:
        """Those below the offset `end`; where that is not known, those that had come at `now`."""
        while self._next is not None and (
            self._next.offset < end if end is not None else self._next.timestamp <= now
        ):
            yield self._next
            self._next = next(self._entries, None)


Decoded = Any


def _decoded(codec: Codec[Decoded], entry: Entry) -> Decoded:
    try:
        return codec.decode(entry.value)
    except ValueError:
        return None  # it is a dead letter


def _occasion(record: Release) -> tuple[object, ...]:
    """Records that were decided at one moment have the same."""
    evidence = record.evidence or {}
    now = evidence.get("now")
    return (now, evidence.get("cause") == "force") if now is not None else (record.generation,)


def _verified(record: Release, result: Result, *differences: str) -> Verified:
    return Verified(record.generation, record.ts, record.phase, record.reason, result, tuple(differences))


def _plain(record: Release) -> dict[str, Any]:
    """The record as JSON has it, without what no decision rests on. How old predictions had to be was found
    from the clicks of the day before the start, and holds as it was recorded.
    """
    plain: dict[str, Any] = msgspec.json.decode(ENCODER.encode(record))
    evidence = plain["evidence"] or {}
    plain["evidence"] = {name: value for name, value in evidence.items() if name not in ASIDE}
    evidence.get("state", {}).pop("maturity", None)
    return plain


def _differences(place: str, recorded: Any, found: Any) -> Iterator[str]:
    if isinstance(recorded, dict) and isinstance(found, dict):
        for name in sorted({*recorded, *found}):
            yield from _differences(f"{place}.{name}", recorded.get(name), found.get(name))
    elif isinstance(recorded, list) and isinstance(found, list) and len(recorded) == len(found):
        for index, (one, other) in enumerate(zip(recorded, found, strict=True)):
            yield from _differences(f"{place}[{index}]", one, other)
    elif recorded != found:
        yield f"{place.lstrip('.')}: recorded {recorded!r}, found {found!r}"
