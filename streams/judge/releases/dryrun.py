"""What the judge would do with a release if the policy did not say `dry_run`: the same transitions, made of
records that nobody writes.

Traffic does not move, so what is looked at stays the evidence about the release as it is; steps, pauses and
time limits go their imagined course.
"""

from typing import Literal

import msgspec

from schemas.records import Phase, Release
from streams.judge.releases import release
from streams.judge.releases.release import Standing

Act = Literal["step", "pause", "resume", "promote", "finish", "roll back"]

KEPT = 20
"""So many imagined decisions are remembered."""


class Would(msgspec.Struct, frozen=True):
    """One decision that was not carried out: what, when (ms), to which weight, and why. `stable` is the
    version that would be stable since.
    """

    act: Act
    ts: int
    stable: str
    weight: float
    reason: str


class Course(msgspec.Struct, frozen=True):
    """How a release would have gone since `generation`, the one that stands. `record` is where it would be
    now; `past` what would have been decided, the oldest first, in this generation and before it.
    """

    generation: int
    record: Release
    past: tuple[Would, ...] = ()

    @property
    def standing(self) -> Standing:
        """What would stand."""
        return release.read(self.record)

    @property
    def last(self) -> Would | None:
        """The newest decision that would stand; None where none has been made in this generation."""
        return self.past[-1] if self.past and self.record.generation > self.generation else None

    def then(self, record: Release) -> "Course":
        """The course after a further record."""
        would = Would(_act(self.record, record), record.ts, record.stable, record.weight, record.reason)
        return Course(self.generation, record, (*self.past, would)[-KEPT:])


def begin(standing: Standing, before: Course | None) -> Course:
    """A course from what stands; what an earlier one of the same release has seen stays in its past."""
    same = before is not None and before.standing.state.started == standing.state.started
    return Course(standing.release.generation, standing.release, before.past if same and before else ())


def _act(before: Release, after: Release) -> Act:
    acts: dict[Phase, Act] = {
        "rolled_back": "roll back",
        "watching": "promote",
        "paused": "pause",
        "stable": "finish",
    }
    if before.phase == "paused" and after.phase in ("canary", "watching"):
        return "resume"
    return acts.get(after.phase, "step")
