"""`control.evidence`, as far as people are shown it: what the tests of a running release said."""

import msgspec

from schemas.records.fields import Count, Name, Record, Time


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one test said of a release at one look.

    `effect` and its bounds are fractions of the reference's value, or the metric's own values where nothing
    is compared; `limit` is in the same unit: bounds both beyond it, on the side that `fails` or `passes`
    (`above`, `below`), are proof. `statistic` and `boundary` say the same in standard errors. `values` and
    `samples`: of the judged version, then of the reference.
    """

    test: str
    state: str = ""
    effect: float | None = None
    lower: float | None = None
    upper: float | None = None
    limit: float | None = None
    fails: str = ""
    passes: str = ""
    statistic: float | None = None
    boundary: float | None = None
    values: dict[str, float | None] = {}
    samples: dict[str, float] = {}
    needed: int | None = None
    alpha: float | None = None

    @property
    def metric(self) -> str:
        """What is tested."""
        return self.test.partition(" ")[0]

    def of(self, place: int) -> tuple[str, float | None, float | None]:
        """Version, value and samples of the judged version (0) or the reference (1)."""
        versions = [*self.samples]
        if place >= len(versions):
            return "", None, None
        return versions[place], self.values.get(versions[place]), self.samples[versions[place]]


class Findings(msgspec.Struct, frozen=True, omit_defaults=True):
    """What all tests said at one look. `through`: event time (ms) that all sources had reached."""

    findings: list[Finding] = []
    through: int | None = None


class Outlook(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a running release stood at `at` (ms): in the terms of Argo Rollouts, with the cause, in words."""

    at: Time
    outcome: str = ""
    cause: str = ""
    verdict: str = ""
    context: Findings = Findings()


class Turn(msgspec.Struct, frozen=True, omit_defaults=True):
    """One decision of the past."""

    generation: Count


class Evidence(Record):
    """`control.evidence`, as far as people are shown it: how a running release stands, every few seconds. The
    rest is the judge's own (`streams.judge.releases.checkpoint`). The last of `history` is the generation in
    force; `outlook` is absent where no release runs.
    """

    model: Name
    ts: Time
    history: list[Turn] = []
    outlook: Outlook | None = None
