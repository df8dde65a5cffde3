"""One model's release, conducted: from its evidence, commands and the time to the transitions that are due.

Pure: what is decided is answered as a record, not written; it stands once it is adopted.
"""

import math
from collections.abc import Iterator, Mapping

import msgspec

from schemas import policies
from schemas.policies import ReleasePolicy
from schemas.records import CommandRecord, Pane, Release
from schemas.timeline import Timeline
from streams.judge import commands, escalation, release, report, verdict
from streams.judge.evidence import Evidence, Results
from streams.judge.maturity import maturity
from streams.judge.release import Occasion, Positions, Standing
from streams.judge.verdict import Cause, Look, Outcome, Verdict
from streams.judge.watch import Watch
from streams.judge.workers import Workers


class Conductor:
    """The release of one model. `watch` holds its panes, `workers` its serving workers."""

    def __init__(self, model: str, watch: Watch, workers: Workers, timeline: Timeline) -> None:
        self.standing: Standing | None = None
        self._model = model
        self._watch = watch
        self._workers = workers
        self._timeline = timeline
        self._evidence: Evidence | None = None
        self._heard: dict[str, int] = {}
        self._arrived: int | None = None
        self._results: tuple[ReleasePolicy, int | None, Results] | None = None

    def adopt(self, record: Release) -> None:
        """Takes `record` as what stands, whoever wrote it; one of a generation that is over is left alone."""
        old = self.standing
        if old is not None and old.release.generation >= record.generation:
            return
        self.standing = release.read(record)
        self._results = self._arrived = None
        state = self.standing.state
        if state.judged is None or state.reference is None:
            self._evidence = None
        elif old is None or old.state.started != state.started or self._evidence is None:
            self._evidence = Evidence(state.judged, state.reference)
            for window in self._watch.panes.all():
                window.folded = False

    def hear(self, pane: Pane, raised: Mapping[str, float], timestamp: int) -> None:
        """Notes a snapshot that `watch` has taken: its Kafka timestamp (ms) says when a version last had
        data.
        """
        self._results = None
        if raised.get("predictions", 0.0) > 0 and not pane.segment and pane.arm != "shadow":
            self._heard[pane.version] = max(self._heard.get(pane.version, 0), timestamp)

    def stir(self) -> None:
        """The clocks have moved: more panes are mature or final than before."""
        self._results = None

    @property
    def oldest(self) -> int | None:
        """The event time (ms) from which on the running release needs panes; None where none runs."""
        return self.standing.state.started if self.standing is not None and self._tested else None

    @property
    def unfolded(self) -> float:
        """The start of the oldest window that the running release has yet to take in for good; infinite
        where there is none.
        """
        if not self._tested:
            return math.inf
        return min(
            (window.start for window in self._watch.panes.all() if not window.folded), default=math.inf
        )

    @property
    def _tested(self) -> bool:
        """Whether a release runs that is not decided by hand only: that one needs no evidence."""
        by_policy = self._timeline.latest(self._model).release is not None
        return self.standing is not None and self.standing.runs and by_policy

    @property
    def patience(self) -> int:
        """How long workers have to acknowledge, in ms, by the policy in force when the generation came."""
        return 0 if self.standing is None else int(self._limits(self.standing.release.ts).ack_deadline)

    def roll_back(self, now: int, as_of: Positions, horizon: int | None) -> Release | None:
        """The rollback that is due, or None. It comes before anything else, an operator's command too."""
        look = self._look(now, horizon)
        found = None if look is None else verdict.judge(look)
        if (
            self.standing is None
            or found is None
            or found.outcome is not Outcome.FAILED
            or found.finding is None
        ):
            return None
        occasion = self._occasion(self.standing, found, now, as_of)
        record = release.roll_back(self.standing, occasion, found.finding.text)
        return escalation.handed_over(self.standing, record)

    def carry_out(self, command: CommandRecord, now: int, as_of: Positions) -> Release:
        """What a command leads to. Raises `commands.RefusedError`."""
        asked = f"{command.command} by {command.actor}"
        occasion = Occasion(
            now=now,
            key=command.command_id,
            reason=f"{asked}: {command.reason}" if command.reason else asked,
            as_of=as_of,
            settled=self._settled(now),
            evidence={"cause": "command", "command_id": command.command_id, "actor": command.actor},
        )
        mature = maturity(self._timeline.at(self._model, now), self._watch.delays)
        record = commands.carry_out(command, self.standing, self._limits(now), mature, occasion)
        return escalation.handed_over(self.standing, record)

    def go_on(self, now: int, as_of: Positions, horizon: int | None) -> Release | None:
        """The transition other than a rollback that is due by itself, or None."""
        standing, policy, look = self.standing, self._policy(now), self._look(now, horizon)
        if standing is None or policy is None or look is None:
            return None
        found = verdict.judge(look)
        record = self._transition(standing, policy, found, self._occasion(standing, found, now, as_of))
        return None if record is None else escalation.handed_over(standing, record)

    def _transition(
        self, standing: Standing, policy: ReleasePolicy, found: Verdict, occasion: Occasion
    ) -> Release | None:
        state, now = standing.state, occasion.now
        if state.pause is not None:
            if state.pause.cause != "no_data" or any(at <= state.pause.at for _, at in self._arms(standing)):
                return None
            return release.resume(
                standing, occasion._replace(key="data", reason="there is data of both arms again")
            )
        if standing.phase == "watching":
            if now < state.since + policy.watch_after:
                return None
            reason = f"{state.judged} was watched for {policy.watch_after}"
            return release.finish(standing, occasion._replace(key="watched", reason=reason))
        if found.outcome is Outcome.SUCCESSFUL:
            return release.promote(standing, policy, occasion)
        if found.outcome is Outcome.INCONCLUSIVE:
            return release.pause(standing, "no_data" if found.cause is Cause.NO_DATA else "timeout", occasion)
        if found.outcome is Outcome.ERROR:
            return release.pause(standing, "error", occasion)
        following = state.step + 1
        if following < len(policy.steps) and now >= state.since + policy.steps[state.step].hold:
            weight = policy.steps[following].weight
            reason = f"step {following + 1} of {len(policy.steps)}: {weight:g} of the traffic"
            return release.step(
                standing, following, policy, occasion._replace(key=f"step {following}", reason=reason)
            )
        return None

    def _look(self, now: int, horizon: int | None) -> Look | None:
        """None where nothing runs, or all is decided by hand."""
        standing, policy = self.standing, self._policy(now)
        if standing is None or not standing.runs or policy is None or self._evidence is None:
            return None
        state = standing.state
        results = self._test(standing, policy, self._evidence, now, horizon)
        step = min(state.step, len(policy.steps) - 1)
        hold = policy.steps[step].hold if policy.steps else policies.Duration(0)
        proceeds = standing.release.phase == "canary"
        silent = [
            arm
            for arm, at in self._arms(standing)
            if proceeds and now - max(at, standing.release.ts) > policy.no_data
        ]
        return Look(
            guardrails=results.guardrails,
            success=results.success if proceeds else None,
            stepped=proceeds and step == len(policy.steps) - 1 and now >= state.since + hold,
            overdue=proceeds and now >= state.running + policy.timeout,
            silent=silent,
        )

    def _test(
        self, standing: Standing, policy: ReleasePolicy, evidence: Evidence, now: int, horizon: int | None
    ) -> Results:
        settled = self._settled(now)
        if self._results is not None and self._results[0] is policy and self._results[1] == settled:
            return self._results[2]
        *before, last = standing.state.spans
        spans = [*before, msgspec.structs.replace(last, settled=settled)]
        mature = -math.inf if horizon is None else horizon - standing.state.maturity
        results = evidence.look(policy, self._watch.panes.all(), spans, mature)
        self._results = (policy, settled, results)
        return results

    def _arms(self, standing: Standing) -> Iterator[tuple[str, int]]:
        """Each arm that ought to have data, with its version, and when it last had (ms)."""
        record = standing.release
        yield f"stable ({record.stable})", self._heard.get(record.stable, 0)
        if record.candidate is not None and record.weight > 0:
            yield f"candidate ({record.candidate})", self._heard.get(record.candidate, 0)

    def _settled(self, now: int) -> int | None:
        """When the generation was on all workers (ms). Once known it stays, whoever comes later."""
        if self.standing is None:
            return None
        if self._arrived is None:
            record = self.standing.release
            self._arrived = self._workers.settled(record.generation, record.ts, self.patience, now)
        return self._arrived

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
            settled=self._settled(now),
            evidence=report.evidence(found, standing),
        )
