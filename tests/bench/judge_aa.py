"""How often the judge rolls a release back without cause, and how soon it does with cause: simulated
releases through its real comparison and verdict.

`python -m tests.bench.judge_aa [releases]` prints one line a scenario. Users have click rates and activities
of their own, the candidate's share is ramped while the click rate drifts, and there is a look after every
batch of requests.
"""

import sys
import time
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.policies import Duration, Guardrail, ReleasePolicy, Step, Success
from schemas.records import BUCKETS
from streams.judge import compare, verdict
from streams.judge.compare import Finding, Ratio, Stratum
from streams.judge.verdict import Look, Outcome


class Scenario(NamedTuple):
    """A release to be simulated. `effect`: the candidate's relative difference; `rates`: click rate at each
    step of `weights`.
    """

    name: str
    effect: float = 0.0
    users: int = 20_000
    rates: tuple[float, ...] = (0.10, 0.05)
    spread: float = 20.0
    weights: tuple[float, ...] = (0.1, 0.5)
    looks: int = 300
    batch: int = 200
    margin: float = 0.0
    guardrails: int = 1


class Course(NamedTuple):
    """How a release went: the outcome that ended it, and how many of the candidate's impressions it took."""

    outcome: Outcome
    impressions: float


def policy(scenario: Scenario) -> ReleasePolicy:
    """One CTR guardrail (as often as the scenario says), and success where the candidate is not worse by a
    tenth.
    """
    return ReleasePolicy(
        steps=tuple(Step(weight=weight, hold=Duration(0)) for weight in scenario.weights),
        guardrails=(Guardrail(metric="ctr", worse_by=scenario.margin),) * scenario.guardrails,
        success=Success(metric="ctr", better_by=-0.1),
    )


def simulate(scenario: Scenario, seed: int) -> Course:
    """One release from its first look to its verdict, or to its last look."""
    random = np.random.default_rng(seed)
    shape = np.array(scenario.rates).mean()
    rates = random.beta(scenario.spread * shape, scenario.spread * (1 - shape), scenario.users) / shape
    activity = np.cumsum(random.pareto(2.0, scenario.users) + 0.1)
    bucket = random.integers(0, BUCKETS, scenario.users)
    unit = random.random(scenario.users)
    guardrails, success = compare.guardrails(policy(scenario)), compare.success(policy(scenario))
    assert success is not None
    sums = np.zeros((len(scenario.weights), 2, 2, BUCKETS))
    for look in range(scenario.looks):
        step = min(look * len(scenario.weights) // scenario.looks, len(scenario.weights) - 1)
        users = np.searchsorted(activity, random.random(scenario.batch) * activity[-1])
        candidate = unit[users] < scenario.weights[step]
        rate = scenario.rates[step] * rates[users] * np.where(candidate, 1 + scenario.effect, 1.0)
        clicked = random.random(scenario.batch) < rate
        for arm, chosen in enumerate((candidate, ~candidate)):
            sums[step, arm, 0] += np.bincount(bucket[users[chosen]], clicked[chosen], BUCKETS)
            sums[step, arm, 1] += np.bincount(bucket[users[chosen]], minlength=BUCKETS)
        found = _judge(sums[: step + 1], guardrails, success, stepped=step == len(scenario.weights) - 1)
        if found is not Outcome.RUNNING:
            return Course(found, float(sums[:, 0, 1].sum()))
    return Course(Outcome.INCONCLUSIVE, float(sums[:, 0, 1].sum()))


def _judge(
    sums: npt.NDArray[np.float64],
    guardrails: tuple[compare.Hypothesis, ...],
    success: compare.Hypothesis,
    *,
    stepped: bool,
) -> Outcome:
    strata = [Stratum(Ratio(*generation[0]), Ratio(*generation[1])) for generation in sums]
    findings: list[Finding] = [test.look(strata) for test in guardrails]
    return verdict.judge(Look(findings, success.look(strata), stepped, False, ())).outcome


SCENARIOS = (
    Scenario("A/A, ramped, drifting CTR"),
    Scenario("A/A, ramped, drifting CTR, three guardrails", guardrails=3),
    Scenario("A/A, rare clicks (CTR 1 %)", rates=(0.012, 0.008), spread=50.0),
    Scenario("A/A, few users", users=500),
    Scenario("A/A, every user alike", spread=10_000.0, rates=(0.08, 0.08)),
    Scenario("A/A, high CTR", rates=(0.5, 0.3), spread=4.0),
    Scenario("CTR down by a tenth", effect=-0.1),
    Scenario("CTR down by a fifth", effect=-0.2),
    Scenario("CTR down by a half", effect=-0.5),
    Scenario("CTR up by a tenth", effect=0.1),
)


def main(releases: int) -> None:
    """Prints, of each scenario, the shares of outcomes and the median of the candidate's impressions at a
    rollback.
    """
    for scenario in SCENARIOS:
        start = time.perf_counter()
        courses = [simulate(scenario, seed) for seed in range(releases)]
        failed = [course.impressions for course in courses if course.outcome is Outcome.FAILED]
        shares = {
            outcome: sum(course.outcome is outcome for course in courses) / releases
            for outcome in (Outcome.FAILED, Outcome.SUCCESSFUL, Outcome.INCONCLUSIVE)
        }
        told = ", ".join(f"{outcome.value} {share:.1%}" for outcome, share in shares.items())
        after = f"; half of the rollbacks by {np.median(failed):,.0f} impressions" if failed else ""
        print(f"{scenario.name}: {told}{after} ({time.perf_counter() - start:.0f} s)", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 400)
