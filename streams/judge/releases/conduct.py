"""One model's release, conducted: from its evidence, commands and the time to the transitions that are due.

Pure: what is decided is answered as a record, not written; it stands once it is adopted. Under `dry_run` what
would be due is noted instead.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from schemas import links, policies
from schemas.policies import ReleasePolicy
from schemas.records import CommandRecord, Pane, Release
from schemas.timeline import Timeline
from streams.judge.facts.maturity import maturity
from streams.judge.facts.panes import Clocks
from streams.judge.facts.workers import Workers
from streams.judge.releases import commands, drifting, dryrun, escalation, presence, release, report, verdict
from streams.judge.releases.beside import Report
from streams.judge.releases.case import Case
from streams.judge.releases.checkpoint import Checkpoint, Folded, Kept, Outlook
from streams.judge.releases.dryrun import Course
from streams.judge.releases.evidence import NOTHING, Results
from streams.judge.releases.presence import Arm, Presence
from streams.judge.releases.release import PASSING, Occasion, PauseCause, Positions, Standing
from streams.judge.releases.shadow import Shadow
from streams.judge.releases.verdict import Cause, Look, Outcome, Silence, Verdict
from streams.judge.rules.watch import Watch
from streams.metrics.profiles import Profiles

log = logging.getLogger(__name__)

RECENT = 600_000
"""Features' drift is told of the panes of so many last ms."""
PACE = 5_000
"""A shadow is looked at so often (ms)."""


PAUSES: Mapping[Cause, PauseCause] = {
    Cause.TIMEOUT: "timeout",
    Cause.NO_DATA: "no_data",
    Cause.NO_TRAFFIC: "no_traffic",
    Cause.SAMPLE_RATIO: "sample_ratio",
    Cause.BROKEN: "error",
}


class Conductor:
    """The release of one model. `watch` holds its panes, `workers` its serving workers, `clocks` how far the
    sources of panes are.
    """

    def __init__(
        self, model: str, watch: Watch, workers: Workers, timeline: Timeline, clocks: Clocks
    ) -> None:
        self.standing: Standing | None = None
        self.presence = Presence()
        self.course: Course | None = None
        self.case = Case(model, watch, workers, timeline, clocks)
        self.profiles = Profiles()
        self.dashboard = ""
        """A link to where people look (`links.render`)."""
        self._model = model
        self._watch = watch
        self._workers = workers
        self._timeline = timeline
        self._clocks = clocks
        self._doubted = NOTHING
        self._shadow: Shadow | None = None
        self._beside: tuple[int, Report] | None = None
        self._kept: Kept | None = None
        self._shadow_secured = NOTHING

    def adopt(self, record: Release) -> None:
        """Takes `record` as what stands, whoever wrote it; one of a generation that is over is left alone."""
        old = self.standing
        if old is None or old.release.generation < record.generation:
            self.stand(record)

    def stand(self, record: Release) -> None:
        """Takes `record` as what stands, whatever else does."""
        self.standing = release.read(record)
        self.case.stand(self.standing)
        self._shadow = self._shadowing(self.standing)

    def recall(self, checkpoint: Checkpoint) -> None:
        """What a predecessor knew; before anything else."""
        self.presence.recall(checkpoint.heard, checkpoint.unanswered)
        self.case.recall(checkpoint.folded, checkpoint.settled)
        self._kept = checkpoint.shadow

    def doubt(self, before: int) -> None:
        """Panes that start before this event time (ms) are not known whole: the evidence is without them."""
        self._doubted = max(self._doubted, before)
        self.case.doubt(before)
        if self._shadow is not None:
            self._shadow.skip(before)

    def secure(self, folded: Folded | None, shadow: Kept | None) -> None:
        """Both have been written: a successor needs no panes for them."""
        self.case.secure(folded)
        if self._shadow is not None and shadow == self._shadow.keep():
            self._shadow_secured = self._shadow.through

    def fold(self, now: int, horizon: int | None) -> None:
        """Takes in for good what can change no more, also where nothing is to be decided yet."""
        self.case.fold(now, horizon)
        if self._shadow is not None:
            self._shadow.fold(self._watch.panes.all())

    def hear(self, pane: Pane, raised: Mapping[str, float], timestamp: int) -> None:
        """Notes a snapshot that `watch` has taken: its Kafka timestamp (ms) says when a version last had
        data.
        """
        self.case.stir()
        if pane.segment:
            return
        if raised.get("predictions", 0.0) > 0 and pane.arm != "shadow":
            self.presence.hear(pane.version, timestamp, self._limits(timestamp).no_data)
        if raised.get("unanswered", 0.0) > 0:
            self.presence.unanswered = max(self.presence.unanswered, timestamp)

    def stir(self) -> None:
        """The clocks have moved: more panes are mature or final than before."""
        self.case.stir()

    @property
    def oldest(self) -> int | None:
        """The event time (ms) from which on a successor needs panes for the running release or the shadow;
        None where there is neither.
        """
        marks = [] if self.case.oldest is None else [self.case.oldest]
        if self._shadow is not None:
            marks.append(max(self._shadow.since, self._shadow_secured))
        return min(marks, default=None)

    @property
    def unfolded(self) -> float:
        """The start of the oldest window that the running release or the shadow has yet to take in for good;
        infinite where there is none.
        """
        return min(self.case.unfolded, math.inf if self._shadow is None else self._shadow.through)

    def roll_back(self, now: int, as_of: Positions, horizon: int | None) -> Release | None:
        """The rollback that is due, or None. It comes before anything else, an operator's command too."""
        policy = self._policy(now)
        if self.standing is None or policy is None or policy.dry_run:
            return None
        return self._rolled_back(self.standing, now, as_of, horizon)

    def carry_out(self, command: CommandRecord, now: int, as_of: Positions) -> Release:
        """What a command leads to. Raises `commands.RefusedError`."""
        asked = f"{command.command} by {command.actor}"
        occasion = Occasion(
            now=now,
            key=command.command_id,
            reason=f"{asked}: {command.reason}" if command.reason else asked,
            as_of=as_of,
            settled=self.case.settled_at(now),
            evidence={"cause": "command", "command_id": command.command_id, "actor": command.actor},
        )
        mature = maturity(self._timeline.at(self._model, now), self._watch.delays)
        record = commands.carry_out(command, self.standing, self._limits(now), mature, occasion)
        return self._handed_over(self.standing, record, now)

    def go_on(self, now: int, as_of: Positions, horizon: int | None) -> Release | None:
        """The transition other than a rollback that is due by itself, or None."""
        standing, policy = self.standing, self._policy(now)
        if standing is None or policy is None:
            return None
        if policy.dry_run:
            self._imagine(standing, policy, now, as_of, horizon)
            return None
        self.course = None
        return self._moved_on(standing, policy, now, as_of, horizon)

    def _imagine(
        self, standing: Standing, policy: ReleasePolicy, now: int, as_of: Positions, horizon: int | None
    ) -> None:
        """Notes what would be due."""
        course = self.course
        if course is None or course.generation != standing.release.generation:
            course = dryrun.begin(standing, course)
        would_stand = course.standing
        record = self._rolled_back(would_stand, now, as_of, horizon)
        if record is None:
            record = self._moved_on(would_stand, policy, now, as_of, horizon)
        self.course = course if record is None else course.then(record)

    def _rolled_back(
        self, standing: Standing, now: int, as_of: Positions, horizon: int | None
    ) -> Release | None:
        look = self._look(standing, now, horizon)
        found = None if look is None else verdict.judge(look)
        if found is None or found.outcome is not Outcome.FAILED or found.finding is None:
            return None
        occasion = self._occasion(standing, found, now, as_of)
        record = release.roll_back(standing, occasion, found.finding.text)
        return self._handed_over(standing, record, now)

    def _moved_on(
        self, standing: Standing, policy: ReleasePolicy, now: int, as_of: Positions, horizon: int | None
    ) -> Release | None:
        look = self._look(standing, now, horizon)
        if look is None:
            return None
        found = verdict.judge(look)
        record = self._transition(standing, policy, found, self._occasion(standing, found, now, as_of))
        return None if record is None else self._handed_over(standing, record, now)

    def _handed_over(self, before: Standing | None, record: Release, now: int) -> Release:
        """`record`, which is to follow `before`, with all that was known when it was decided; with how the
        shadow did, where it ends that.
        """
        if before is not None and before.runs and record.evidence is not None:
            record.evidence |= self._context(before, now)
        ended = before is not None and release.read(record).state.shadowed != before.state.shadowed
        if ended and self._shadow is not None and record.evidence is not None:
            record.evidence["shadow"] = msgspec.to_builtins(self._look_beside(self._shadow, now))
        return escalation.handed_over(before, record)

    def _context(self, standing: Standing, now: int) -> dict[str, Any]:
        """What all tests say at `now`, and what may be behind it."""
        judged, horizon = standing.state.judged, self._clocks.horizon
        policy = self._timeline.at(self._model, now)
        found: dict[str, Any] = {"through": horizon, "maturity": standing.state.maturity}
        results = None if policy.release is None else self.case.test(policy.release, now, horizon)
        if policy.release is not None and results is not None:
            found |= report.tests(policy.release, results, standing)
        if judged is not None and horizon is not None:
            recent = self._watch.panes.between(horizon - RECENT, horizon)
            profile = self.profiles.of(self._model, judged)
            found["drift"] = drifting.furthest(judged, profile, recent, policy.drift)
        link = links.render(self.dashboard, self._model, judged, standing.state.started, now)
        return found if link is None else found | {"link": link}

    def outlook(self, now: int) -> Outlook | None:
        """How the running release stands; None where none runs."""
        standing, policy = self.standing, self._policy(now)
        if standing is None or not standing.runs:
            return None
        look = self._look(standing, now, self._clocks.horizon)
        found = None if look is None else verdict.judge(look)
        return Outlook(
            at=now,
            outcome="" if found is None else found.outcome.value,
            cause="" if found is None else found.cause.value,
            verdict="decided by hand: the policy has no release section"
            if policy is None or found is None
            else report.sentence(found, standing),
            settled=self.case.settled_at(now),
            context=self._context(standing, now),
        )

    @property
    def shadow(self) -> Kept | None:
        """What is folded about the shadow; None where there is none."""
        return None if self._shadow is None else self._shadow.keep()

    def beside(self, now: int) -> Report | None:
        """How the shadow does beside the stable version, as of the last few seconds; None where there is
        none.
        """
        if self._shadow is None:
            return None
        if self._beside is None or now >= self._beside[0] + PACE:
            self._beside = now, self._look_beside(self._shadow, now)
        return self._beside[1]

    def _look_beside(self, shadow: Shadow, now: int) -> Report:
        profiles = {
            version: self.profiles.of(self._model, version) for version in (shadow.shadow, shadow.stable)
        }
        policy = self._timeline.at(self._model, now)
        return shadow.look(policy, profiles, self._watch.panes.all())

    def _shadowing(self, standing: Standing) -> Shadow | None:
        """The comparison of the shadow that stands: the one that goes on, a predecessor's, or a new one."""
        version, stable = standing.release.shadow, standing.release.stable
        if version is None:
            return None
        since = standing.state.shadowed + int(self._limits(standing.state.shadowed).ack_deadline)
        wanted = version, stable, since
        held, kept = self._shadow, self._kept
        if held is not None and (held.shadow, held.stable, held.since) == wanted:
            return held
        self._beside, self._kept = None, None
        made = Shadow(*wanted)
        if kept is not None and (kept.shadow, kept.stable, kept.since) == wanted:
            try:
                made = Shadow.recall(kept)
            except ValueError as error:
                log.error("%s: the shadow's sums in control.evidence: %s", self._model, error)
        self._shadow_secured = made.through
        made.skip(self._doubted)
        return made

    def _transition(
        self, standing: Standing, policy: ReleasePolicy, found: Verdict, occasion: Occasion
    ) -> Release | None:
        state, now = standing.state, occasion.now
        if state.pause is not None:
            return self._from_pause(standing, policy, found, occasion)
        if found.outcome is Outcome.SUCCESSFUL:
            return release.promote(standing, policy, occasion)
        if found.outcome in (Outcome.INCONCLUSIVE, Outcome.ERROR):
            return release.pause(standing, PAUSES[found.cause], occasion)
        if standing.phase == "watching":
            if now < state.since + policy.watch_after:
                return None
            reason = f"{state.judged} was watched for {policy.watch_after}"
            return release.finish(standing, occasion._replace(key="watched", reason=reason))
        following = state.step + 1
        if following < len(policy.steps) and now >= state.since + policy.steps[state.step].hold:
            weight = policy.steps[following].weight
            reason = f"step {following + 1} of {len(policy.steps)}: {weight:g} of the traffic"
            return release.step(
                standing, following, policy, occasion._replace(key=f"step {following}", reason=reason)
            )
        return None

    def _from_pause(
        self, standing: Standing, policy: ReleasePolicy, found: Verdict, occasion: Occasion
    ) -> Release | None:
        """A pause for want of data ends with them; or becomes one that waits for an operator, where there is
        a cause.
        """
        state, interrupted = standing.state, standing.state.pause
        if interrupted is None or interrupted.cause not in PASSING:
            return None
        if found.cause in (Cause.SAMPLE_RATIO, Cause.BROKEN):
            return release.pause(standing, PAUSES[found.cause], occasion)
        needed = presence.calm(state.pauses, policy.no_data)
        waits = found.outcome is Outcome.INCONCLUSIVE or occasion.now < interrupted.at + needed
        if waits or not presence.returned(self._arms(), interrupted.at, needed):
            return None
        reason = "there is data of both arms again"
        if needed:
            reason += f", for {policies.Duration(needed)} without a gap"
        return release.resume(standing, occasion._replace(key="data", reason=reason))

    def _look(self, standing: Standing, now: int, horizon: int | None) -> Look | None:
        """What there is to be seen of a release that is as `standing` says. None where nothing runs, or all
        is decided by hand.
        """
        policy = self._policy(now)
        results = None if policy is None else self.case.test(policy, now, horizon)
        if not standing.runs or policy is None or results is None:
            return None
        state = standing.state
        step = min(state.step, len(policy.steps) - 1)
        hold = policy.steps[step].hold if policy.steps else policies.Duration(0)
        proceeds = standing.release.phase == "canary"
        return Look(
            guardrails=results.guardrails,
            success=results.success if proceeds else None,
            stepped=proceeds and step == len(policy.steps) - 1 and now >= state.since + hold,
            overdue=proceeds and now >= state.running + policy.timeout,
            silence=self._silence(standing, policy, results, now),
            sample_ratio=results.sample_ratio,
        )

    def _silence(
        self, standing: Standing, policy: ReleasePolicy, results: Results, now: int
    ) -> Silence | None:
        """Only a canary's: a night without requests is no reason to stop watching."""
        if standing.phase != "canary":
            return None
        told, unanswered = self._clocks.spoken, self.presence.unanswered
        found = presence.silence(self._arms(), told, unanswered, standing.release.ts, policy.no_data, now)
        if found is None and results.missing is not None:
            return Silence(Cause.NO_DATA, results.missing)
        return found

    def _arms(self) -> Sequence[Arm]:
        """Each arm that ought to have data, with its version."""
        if self.standing is None:
            return ()
        record = self.standing.release
        stable = Arm(f"stable ({record.stable})", self.presence.of(record.stable))
        if record.candidate is None or record.weight == 0:
            return (stable,)
        return (stable, Arm(f"candidate ({record.candidate})", self.presence.of(record.candidate)))

    def _policy(self, now: int) -> ReleasePolicy | None:
        return self._timeline.at(self._model, now).release

    def _limits(self, now: int) -> ReleasePolicy:
        """The release policy, its defaults where all is decided by hand."""
        return self._policy(now) or ReleasePolicy()

    def _occasion(self, standing: Standing, found: Verdict, now: int, as_of: Positions) -> Occasion:
        return Occasion(
            now=now,
            key=f"{found.outcome.value} {found.cause.value} {found.finding.text if found.finding else ''}",
            reason=report.sentence(found, standing),
            as_of=as_of,
            settled=self.case.settled_at(now),
            evidence=report.evidence(found, standing),
        )
