"""What the judge keeps in `control.evidence`, one record a model: what reading its inputs again would not
tell it, and what people ask to see of a release while it runs.

Fields are only ever added, each with a default: a judge reads what an older one wrote.
"""

from typing import Any

import msgspec

from schemas.records import Alert, Command, Count, Name, Phase, Record, Time
from streams.judge.facts.panes import Closed
from streams.judge.releases.beside import Report
from streams.judge.releases.dryrun import Course
from streams.judge.releases.presence import Heard
from streams.judge.statistics.feedback import Quiet


class Refusal(msgspec.Struct, frozen=True, omit_defaults=True):
    """A command that could not be carried out, and why."""

    command_id: str
    command: Command
    actor: str
    ts: int
    reason: str
    version: str | None = None


class Cells(msgspec.Struct, frozen=True, array_like=True):
    """Whose sums stand in `Folded.arrays`: those of `names`, of `evidence.Role` `role` in `stratum`."""

    stratum: int
    role: int
    names: tuple[str, ...]


class Folded(msgspec.Struct, frozen=True, omit_defaults=True):
    """The sums of the panes of the release that `started` then which can change no more: all that start
    before event time `through` are in, or will never be.

    `panes` of them counted, from `first` to `last`. `plain` are their sums, `arrays` those by user bucket, as
    `packing` has them, in the order of `cells`. `quiet`: since when no feedback of a kind has come.
    """

    started: int
    judged: str
    reference: str
    through: int
    first: int = 0
    last: int = 0
    panes: int = 0
    plain: dict[str, float] = {}
    cells: tuple[Cells, ...] = ()
    arrays: str = ""
    quiet: dict[str, Quiet] = {}


class Side(msgspec.Struct, frozen=True, omit_defaults=True):
    """One version's sums. `names` are those of its arrays in `Kept.arrays`."""

    sums: dict[str, float]
    latency: dict[int, int]
    scores: list[int] = []
    names: tuple[str, ...] = ()


class Kept(msgspec.Struct, frozen=True):
    """The sums of a shadow and of the stable version beside it: all panes that start before event time
    `through` are in, or will never be. `arrays` are those by user bucket, as `packing` has them.
    """

    shadow: str
    stable: str
    since: int
    through: int
    sides: tuple[Side, Side]
    arrays: str


class Settled(msgspec.Struct, frozen=True):
    """A generation, and when it was on all workers (ms)."""

    generation: int
    at: int


class Turn(msgspec.Struct, frozen=True, omit_defaults=True):
    """One decision of the past."""

    generation: int
    ts: int
    phase: Phase
    stable: str
    reason: str
    candidate: str | None = None
    weight: float = 0.0
    cause: str = ""


class Outlook(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a running release stood at `at` (ms), though nothing was to be decided. `context` is what
    `report.context` says of the tests; `outcome`, `cause` and `verdict` are what was made of them.
    """

    at: int
    outcome: str = ""
    cause: str = ""
    verdict: str = ""
    settled: int | None = None
    context: dict[str, Any] = {}


class Checkpoint(Record):
    """`control.evidence`. `handled`: commands below this offset are done with. `delays`: clicks' delays by
    hour of event time, of windows that start up to `counted`.

    `folded` are the sums of the running release; `heard` when each version had data, `unanswered` when a
    request was last found without an answer; `settled` the generation in force, once that is known for good.
    `closed` says by source partition, and `as_of` by input, what was known. `history` are the last decisions,
    `outlook` is how the running release stands. `commands` are the ids of the last commands, `firing` the
    alerts about releases and workers that fire, `course` what would have been decided but for `dry_run`.
    `shadow` are the sums of the shadow and of the stable version, `beside` is what they say.
    """

    model: Name
    ts: Time
    handled: Count = 0
    refusals: tuple[Refusal, ...] = ()
    delays: dict[int, dict[int, Count]] = msgspec.field(default_factory=dict)
    counted: int = 0
    folded: Folded | None = None
    heard: dict[str, Heard] = msgspec.field(default_factory=dict)
    unanswered: int = 0
    settled: Settled | None = None
    closed: dict[int, Closed] = msgspec.field(default_factory=dict)
    as_of: dict[str, dict[str, int]] = msgspec.field(default_factory=dict)
    history: tuple[Turn, ...] = ()
    outlook: Outlook | None = None
    commands: tuple[str, ...] = ()
    firing: tuple[Alert, ...] = ()
    course: Course | None = None
    shadow: Kept | None = None
    beside: Report | None = None
