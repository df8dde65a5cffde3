"""What comes next of a release, when at the earliest, and what is going on in one sentence: for people, from
what stands and the policy. Pure; deciding is `conduct.py`'s.
"""

import msgspec

from schemas.policies import Duration, ReleasePolicy
from streams.judge.releases.release import Standing


class Next(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that may come: `what`, at `at` (ms) at the earliest; None where no time says so."""

    what: str
    at: int | None = None


def sentence(model: str, standing: Standing) -> str:
    """What is going on."""
    record, state = standing
    share = f"{100 * record.weight:.4g} %"
    judged, reference = state.judged, state.reference
    if state.pause is not None:
        why = {
            "operator": "an operator paused it",
            "timeout": "nothing was proven in time",
            "no_data": "data are missing",
            "no_traffic": "nobody asks, or nobody answers",
            "sample_ratio": "the arms do not share the users as they ought to",
            "error": "the sums contradict each other",
        }.get(state.pause.cause, state.pause.cause)
        return (
            f"The release of {judged} is paused: {why}. "
            f"{record.candidate} goes on answering {share} of {model}'s traffic."
        )
    if record.phase == "canary":
        return f"{judged} is tried out on {share} of {model}'s traffic, and compared with {reference}."
    if record.phase == "watching":
        return f"{judged} was promoted and is watched; {reference} keeps {share} of {model}'s traffic."
    if record.phase == "rolled_back":
        back = max(state.rolled_back, key=lambda version: state.rolled_back[version], default=None)
        gone = back or "The new version"
        return f"{gone} was rolled back; {record.stable} answers all of {model}'s traffic."
    return f"No release is running; {record.stable} answers all of {model}'s traffic."


def ahead(standing: Standing, policy: ReleasePolicy | None) -> list[Next]:
    """What comes, the soonest first where that is known. `policy` None: all is decided by hand."""
    record, state = standing
    if not standing.runs:
        limits = policy or ReleasePolicy()
        return [
            Next(f"{version} may be started again", at + limits.cooldown)
            for version, at in sorted(state.rolled_back.items(), key=lambda pair: pair[1])
            if version != record.stable
        ]
    if policy is None:
        ways = f"`headgate release promote {record.model}`, or `abort`, or `rollback`"
        return [Next(f"nothing by itself, for the policy has no release section: {ways}")]
    found = [] if not policy.guardrails else [_rolled_back(standing, policy)]
    if state.pause is not None:
        return [*found, _after_pause(standing)]
    if record.phase == "watching":
        end = state.since + policy.watch_after
        return [*found, Next(f"{state.judged} is left alone, and {state.reference} is let go", end)]
    return found + _forward(standing, policy)


def _rolled_back(standing: Standing, policy: ReleasePolicy) -> Next:
    guardrails = "the guardrail" if len(policy.guardrails) == 1 else "one of the guardrails"
    return Next(f"rolled back to {standing.state.reference} as soon as {guardrails} is proven to be violated")


def _after_pause(standing: Standing) -> Next:
    state, model = standing.state, standing.release.model
    assert state.pause is not None
    if state.pause.cause in ("no_data", "no_traffic"):
        return Next("goes on by itself once there are data of both arms again")
    ways = f"`headgate release resume {model}`, or `promote` or `rollback`"
    return Next(f"waits for somebody: {ways}")


def _forward(standing: Standing, policy: ReleasePolicy) -> list[Next]:
    state = standing.state
    end = state.running + policy.timeout
    overdue = Next(f"paused where nothing is proven by then (timeout {Duration(policy.timeout)})", end)
    index = min(state.step, len(policy.steps) - 1)
    over = state.since + (policy.steps[index].hold if policy.steps else 0)
    if index + 1 < len(policy.steps):
        weight = 100 * policy.steps[index + 1].weight
        step = f"step {index + 2} of {len(policy.steps)}: {weight:.4g} % of the traffic"
        return [Next(step, over), overdue]
    if policy.success is None:
        way = f"`headgate release promote {standing.release.model}`"
        return [Next(f"not promoted by itself, for the policy has no success: {way}"), overdue]
    goal = f"{policy.success.metric} better_by {policy.success.better_by:g}"
    return [Next(f"promoted once {goal} is proven", over), overdue]
