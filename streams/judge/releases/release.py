"""A release as a state machine: from one record of `control.releases` to the next, as pure functions.

Each transition takes what stands and answers the next generation's record; nothing is changed in place. What
the record's contract fields do not say (steps, pauses, which generations belong together) stands in its
`evidence`, under `state`, so that a judge that starts anew needs the last record and nothing else. When a
transition is due is `conduct.py`'s business, who may ask for one `commands.py`'s.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec

from schemas.policies import ReleasePolicy
from schemas.records import Phase, Release
from streams.judge.facts.identity import identity
from streams.judge.statistics.compare import UNPLANNED_WEIGHT

SPANS = 200
"""So many generations of one release are remembered; older ones' evidence is dropped."""

Positions = Mapping[str, Mapping[str, int]]
"""Topic → partition → the offset below which its records were known."""

PauseCause = Literal["operator", "timeout", "no_data", "no_traffic", "sample_ratio", "error"]

Part = TypeVar("Part")

PASSING = ("no_data", "no_traffic")
"""Causes of pauses that end by themselves."""

FORGIVEN = 3_600_000
"""A release that has run for so long (ms) since such a pause counts them anew."""


class Span(msgspec.Struct, frozen=True, omit_defaults=True):
    """One generation of a release: from `ts`, and on all workers from `settled`; None while that is open.

    `weight` is the candidate's share, which the sample ratio is held against; None where it is not tested:
    not known, or an operator has seen that it is not so. `split` is the first of the generations in a row
    under which the traffic was shared like this, 0 for this one: a pause and its end do not change how users
    are shared, so they begin no new stratum.
    """

    generation: int
    ts: int
    stable: str
    candidate: str | None = None
    settled: int | None = None
    weight: float | None = None
    split: int = 0

    @property
    def stratum(self) -> int:
        """Sums of all generations with the same number may be added up."""
        return self.split or self.generation


class Pause(msgspec.Struct, frozen=True, omit_defaults=True):
    """A pause: the phase that it interrupts, when, and why."""

    phase: Phase
    at: int
    cause: PauseCause


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a release record's contract fields do not say. Times are epoch ms.

    `judged` is the new version, `reference` the old one, as long as a release runs. `since` is when the
    present step, or the watching, began, and `running` from when the timeout counts, both moved on by
    pauses. `rolled_back` says when each version was last rolled back, `failed` which guardrail the last
    release failed. `pauses` counts those in succession that end by themselves, the last of which ended at
    `resumed`. `shadowed` is since when the shadow has been answering beside the stable version.
    """

    started: int = 0
    running: int = 0
    since: int = 0
    judged: str | None = None
    reference: str | None = None
    step: int = 0
    maturity: int = 0
    pause: Pause | None = None
    spans: tuple[Span, ...] = ()
    previous: str | None = None
    rolled_back: dict[str, int] = {}
    failed: str | None = None
    pauses: int = 0
    resumed: int = 0
    shadowed: int = 0


class Standing(NamedTuple):
    """The release record in force and its state."""

    release: Release
    state: State

    @property
    def phase(self) -> Phase:
        """The record's phase, or the one that a pause interrupts."""
        return self.state.pause.phase if self.state.pause is not None else self.release.phase

    @property
    def runs(self) -> bool:
        """Whether two versions are being compared."""
        return self.state.judged is not None


class Occasion(NamedTuple):
    """When and on what ground a transition is made. `key` names the ground (a command's id, a test): the
    same ground makes the same decision. `settled`: when the generation in force was on all workers.
    `evidence`: what it was decided from.
    """

    now: int
    key: str
    reason: str
    as_of: Positions
    settled: int | None = None
    evidence: Mapping[str, Any] = {}


def said(release: Release, name: str, type_: type[Part]) -> Part | None:
    """A part of a record's evidence; None where it has none, or none of that type: evidence is of any shape,
    and others may have written it.
    """
    try:
        return msgspec.convert((release.evidence or {}).get(name), type_)
    except msgspec.ValidationError:
        return None


def as_of(release: Release) -> Positions:
    """What was known when it was decided; nothing where it does not say."""
    return said(release, "as_of", dict[str, dict[str, int]]) or {}


def read(release: Release) -> Standing:
    """What stands after `release`. A record that is not of the judge's making has no state, or one that does
    not fit: then two versions in it run from its `ts` on.
    """
    state = said(release, "state", State)
    if state is None or (state.judged is not None and not (state.spans and release.candidate)):
        state = _guess(release)
    return Standing(release, state)


def first(model: str, version: str, occasion: Occasion) -> Release:
    """A model's first release: the version is stable at once."""
    nobody = Standing(
        Release(model=model, generation=0, ts=occasion.now, stable=version, decision_id="", reason=""),
        State(),
    )
    return _next(nobody, occasion, State(), phase="stable", salt=_salt(model, 1, version))


def canary(
    standing: Standing, version: str, policy: ReleasePolicy, maturity: int, occasion: Occasion
) -> Release:
    """Starts to compare `version`, with the first step's share of traffic."""
    release, state = standing
    weight = policy.steps[0].weight if policy.steps else UNPLANNED_WEIGHT
    state = State(
        started=occasion.now,
        running=occasion.now,
        since=occasion.now,
        judged=version,
        reference=release.stable,
        maturity=maturity,
        previous=state.previous,
        rolled_back=_recent(state, policy, occasion.now),
    )
    shadow = None if release.shadow == version else release.shadow
    salt = _salt(release.model, release.generation + 1, version)
    return _next(
        standing, occasion, state, phase="canary", candidate=version, weight=weight, shadow=shadow, salt=salt
    )


def shadow(standing: Standing, version: str | None, occasion: Occasion) -> Release:
    """Lets `version` answer out of sight, beside whatever goes on; None ends that."""
    return _next(standing, occasion, standing.state, shadow=version)


def step(standing: Standing, index: int, policy: ReleasePolicy, occasion: Occasion) -> Release:
    """The step of number `index` (from 0)."""
    state = msgspec.structs.replace(standing.state, step=index, since=occasion.now)
    return _next(standing, occasion, state, weight=policy.steps[index].weight)


def pause(standing: Standing, cause: PauseCause, occasion: Occasion) -> Release:
    """Keeps the weight, and the guardrails; steps and timeout wait. What is paused already gets another
    cause.
    """
    state = standing.state
    at = occasion.now if state.pause is None else state.pause.at
    if cause in PASSING:
        again = occasion.now <= state.resumed + FORGIVEN
        state = msgspec.structs.replace(state, pauses=state.pauses + 1 if again else 1)
    state = msgspec.structs.replace(state, pause=Pause(standing.phase, at, cause))
    return _next(standing, occasion, state, phase="paused")


def resume(standing: Standing, occasion: Occasion) -> Release:
    """Goes on where the pause interrupted; after a timeout, with all the time anew, and after a mismatch of
    the sample ratio, with what has been seen of it forgiven.
    """
    state, interrupted = standing.state, standing.state.pause
    assert interrupted is not None, "only what is paused can be resumed"
    lost = occasion.now - interrupted.at
    running = occasion.now if interrupted.cause == "timeout" else state.running + lost
    resumed = occasion.now if interrupted.cause in PASSING else state.resumed
    state = msgspec.structs.replace(
        _forgiven(state), pause=None, since=state.since + lost, running=running, resumed=resumed
    )
    return _next(standing, occasion, state, phase=interrupted.phase)


def promote(standing: Standing, policy: ReleasePolicy, occasion: Occasion) -> Release:
    """The candidate becomes stable, the old version is kept warm at `watch_weight` and compared."""
    release, state = standing
    assert release.candidate is not None, "only a candidate can be promoted"
    state = msgspec.structs.replace(_forgiven(state), since=occasion.now, pause=None, previous=release.stable)
    return _next(
        standing,
        occasion,
        state,
        phase="watching",
        stable=release.candidate,
        candidate=release.stable,
        weight=policy.watch_weight,
    )


def finish(standing: Standing, occasion: Occasion) -> Release:
    """The watching is over: the new version is alone."""
    return _next(standing, occasion, _ended(standing, occasion), phase="stable", candidate=None, weight=0.0)


def roll_back(standing: Standing, occasion: Occasion, failed: str | None = None) -> Release:
    """All traffic back to the old version; the new one may not start again before its cooldown. `failed`:
    the guardrail that says so.
    """
    state = _ended(standing, occasion)
    judged = standing.state.judged or standing.release.stable
    state = msgspec.structs.replace(
        state, rolled_back={**state.rolled_back, judged: occasion.now}, failed=failed
    )
    return _next(
        standing, occasion, state, phase="rolled_back", stable=_old(standing), candidate=None, weight=0.0
    )


def abort(standing: Standing, occasion: Occasion) -> Release:
    """The release is given up without blame: all traffic to the old version, no cooldown."""
    return _next(
        standing,
        occasion,
        _ended(standing, occasion),
        phase="stable",
        stable=_old(standing),
        candidate=None,
        weight=0.0,
    )


def restore(standing: Standing, version: str, occasion: Occasion) -> Release:
    """Another version becomes stable at once, outside any release: an operator's way back after the watching
    is over.
    """
    state = msgspec.structs.replace(
        _ended(standing, occasion),
        previous=standing.release.stable,
        rolled_back={**standing.state.rolled_back, standing.release.stable: occasion.now},
    )
    return _next(standing, occasion, state, phase="rolled_back", stable=version, candidate=None, weight=0.0)


def _forgiven(state: State) -> State:
    """Without what an operator has seen of the sample ratio, where that paused the release."""
    if state.pause is None or state.pause.cause != "sample_ratio":
        return state
    return msgspec.structs.replace(
        state, spans=tuple(msgspec.structs.replace(span, weight=None) for span in state.spans)
    )


def _old(standing: Standing) -> str:
    return standing.state.reference or standing.release.stable


def _ended(standing: Standing, occasion: Occasion) -> State:
    return State(since=occasion.now, previous=standing.state.previous, rolled_back=standing.state.rolled_back)


def _recent(state: State, policy: ReleasePolicy, now: int) -> dict[str, int]:
    return {version: at for version, at in state.rolled_back.items() if at + policy.cooldown > now}


def _salt(model: str, generation: int, version: str) -> str:
    return identity("salt", model, generation, version)[:16]


def _next(standing: Standing, occasion: Occasion, state: State, **changes: Any) -> Release:
    """The record of the next generation, with `changes` to the one that stands."""
    old = standing.release
    generation = old.generation + 1
    ts = max(occasion.now, old.ts)
    release = msgspec.structs.replace(
        old,
        generation=generation,
        ts=ts,
        decision_id=identity(old.model, generation, occasion.key),
        reason=occasion.reason,
        **changes,
    )
    goes_on = (release.shadow, release.stable) == (old.shadow, old.stable)
    shadowed = standing.state.shadowed if goes_on else ts if release.shadow is not None else 0
    state = msgspec.structs.replace(state, shadowed=shadowed)
    if state.judged is not None:
        settled = occasion.settled if occasion.settled is not None else ts
        before = state.spans
        if before and before[-1].settled is None:
            before = (*before[:-1], msgspec.structs.replace(before[-1], settled=settled))
        weight = release.weight if release.candidate is not None else None
        span = Span(generation, ts, release.stable, release.candidate, weight=weight)
        if before and weight is not None and _shares(before[-1]) == _shares(span):
            span = msgspec.structs.replace(span, split=before[-1].stratum)
        state = msgspec.structs.replace(state, spans=(*before, span)[-SPANS:])
    release.evidence = {
        **occasion.evidence,
        "now": occasion.now,
        "as_of": {topic: dict(offsets) for topic, offsets in occasion.as_of.items()},
        "state": msgspec.to_builtins(state),
    }
    return release


def _shares(span: Span) -> tuple[str, str | None, float | None]:
    return span.stable, span.candidate, span.weight


def _guess(release: Release) -> State:
    shadowed = release.ts if release.shadow is not None else 0
    if release.candidate is None:
        return State(shadowed=shadowed)
    watching = release.phase == "watching"
    judged, reference = (
        (release.stable, release.candidate) if watching else (release.candidate, release.stable)
    )
    return State(
        started=release.ts,
        running=release.ts,
        since=release.ts,
        judged=judged,
        reference=reference,
        pause=Pause("canary", release.ts, "operator") if release.phase == "paused" else None,
        shadowed=shadowed,
        spans=(
            Span(release.generation, release.ts, release.stable, release.candidate, weight=release.weight),
        ),
    )
