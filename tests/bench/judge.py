"""`make bench ARGS='judge 2000'`: how often the judge rolls back, promotes or pauses without cause, and how
soon it rolls back with cause: simulated releases laid before its own comparison and verdict.

`releases.py` makes the users and what the panes add up to; the sums of all looks go through
`compare.Hypothesis` and `srm.Mismatch` at once, and at the look that ends a release the verdict is asked
for, as it is in production. Beside each row stands what two usual ways would have done with the same sums: a
z-test repeated at every look, and the judge's own sequence with requests taken for independent.
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from schemas.policies import Duration, Guardrail, ReleasePolicy, Step, Success
from streams.judge.releases import verdict
from streams.judge.releases.verdict import Look, Outcome
from streams.judge.statistics import compare, srm
from streams.judge.statistics.compare import Finding, Hypothesis, Ratio, Stratum
from tests.bench import fixed_horizon
from tests.bench.releases import Metric, Sums, Traffic, simulate

Line = dict[str, object]
"""A line of a table, by column."""

RESULTS = Path(".venv/bench/judge.json")
FINAL = 57
"""Panes are final so many looks after they are mature: 10 min and 1 min of lateness, less the maturity."""

CTR = Metric(rate=0.05, delay=3.0)
RARE = Metric(rate=0.005, spread=200.0, delay=3.0)
HOURLY = 0.5
BUSY = Traffic((CTR,), users=5_000)
"""60 requests a user in a release."""
CROWD = Traffic((CTR,), users=200_000, requests=600.0, most=100)
"""Three requests a user, and no robots: who comes most has some 200."""
WORSE = Guardrail(metric="ctr", worse_by=0.0)


class Row(NamedTuple):
    """A line of the table. `share`: in how many parts of the releases that were asked for it is simulated.
    `guardrails` are those of `traffic.metrics`, in that order.
    """

    name: str
    traffic: Traffic
    guardrails: tuple[Guardrail, ...] = (WORSE,)
    success: Success | None = None
    share: int = 1


class Course(NamedTuple):
    """How a release went: what ended it, at which look, after how many requests of both arms; whether the
    two usual ways would have rolled it back.
    """

    outcome: Outcome
    look: int
    requests: float
    repeated: bool
    independent: bool


FALSE = (
    Row("A/A, CTR 5 %, weight 0.1", BUSY),
    Row("A/A, CTR 0.5 %, weight 0.1", BUSY._replace(metrics=(RARE,))),
    Row(
        "A/A, CTR 5 %, ramped, moving by the hour",
        BUSY._replace(metrics=(CTR._replace(hourly=HOURLY),), weights=(0.1, 0.5)),
    ),
    Row(
        "A/A, CTR 0.5 %, ramped, moving by the hour",
        BUSY._replace(metrics=(RARE._replace(hourly=HOURLY),), weights=(0.1, 0.5)),
    ),
    Row(
        "A/A, the same with CTR 5 %, promoted and watched (0.1, 0.5, 0.98)",
        BUSY._replace(metrics=(CTR._replace(hourly=HOURLY),), weights=(0.1, 0.5, 0.98)),
    ),
    Row("A/A, 200,000 users", CROWD._replace(requests=300.0)),
    Row("A/A, activities without a variance (Pareto 1.3)", BUSY._replace(tail=1.3)),
    Row(
        "error_rate at its limit, above 5 %",
        BUSY._replace(metrics=(Metric(0.05),)),
        (Guardrail(metric="error_rate", above=0.05),),
    ),
    Row(
        "error_rate at its limit, above 0.2 %",
        BUSY._replace(metrics=(Metric(0.002, spread=500.0),)),
        (Guardrail(metric="error_rate", above=0.002),),
    ),
    Row(
        "slow_rate worse by 10 %, worse_by 0.1",
        BUSY._replace(metrics=(Metric(0.02, effect=0.1),)),
        (Guardrail(metric="slow_rate", worse_by=0.1),),
    ),
    Row(
        "all three at their limits at once",
        BUSY._replace(metrics=(CTR, Metric(0.02, effect=0.1), Metric(0.002, spread=500.0))),
        (
            WORSE,
            Guardrail(metric="slow_rate", worse_by=0.1),
            Guardrail(metric="error_rate", above=0.002),
        ),
    ),
)
"""Releases that ought not to be rolled back."""

PASSED = (
    Row(
        "A/A, success: better_by 0",
        BUSY._replace(weights=(0.1, 0.5)),
        (),
        Success(metric="ctr", better_by=0.0),
    ),
    Row(
        "worse by 5 %, success: better_by -0.05",
        BUSY._replace(metrics=(CTR._replace(effect=-0.05),), weights=(0.1, 0.5)),
        (),
        Success(metric="ctr", better_by=-0.05),
    ),
)
"""Releases that ought not to be promoted."""

POWER = (
    Row("CTR 5 %, a fifth lost", CROWD._replace(metrics=(CTR._replace(effect=-0.2),)), share=4),
    Row(
        "the same, with robots",
        CROWD._replace(metrics=(CTR._replace(effect=-0.2),), most=1_000_000),
        share=4,
    ),
    Row("CTR 5 %, a tenth lost", CROWD._replace(metrics=(CTR._replace(effect=-0.1),)), share=20),
    Row("CTR 5 %, half lost", CROWD._replace(metrics=(CTR._replace(effect=-0.5),)), share=20),
    Row("CTR 0.5 %, half lost", CROWD._replace(metrics=(RARE._replace(effect=-0.5),)), share=20),
    Row(
        "slow_rate 2 % doubled, worse_by 0.1",
        CROWD._replace(metrics=(Metric(0.02, effect=1.0),)),
        (Guardrail(metric="slow_rate", worse_by=0.1),),
        share=20,
    ),
    Row(
        "error_rate 0.4 %, above 0.2 %",
        CROWD._replace(metrics=(Metric(0.004, spread=250.0),)),
        (Guardrail(metric="error_rate", above=0.002),),
        share=20,
    ),
)
"""Releases that ought to be rolled back."""

NOBODY = Traffic((), users=20_000)
SHARES = (
    Row("A/A, weight 0.1", NOBODY),
    Row("A/A, weights 0.1, 0.5, 0.98", NOBODY._replace(weights=(0.1, 0.5, 0.98))),
    Row("A/A, weight 0.02, activities without a variance", NOBODY._replace(weights=(0.02,), tail=1.3)),
    Row("weight 0.1, routed 0.12, 20,000 users", NOBODY._replace(routed=1.2), share=20),
    Row("weight 0.1, routed 0.12, 100,000 users", NOBODY._replace(routed=1.2, users=100_000), share=20),
    Row(
        "5 % of the candidate's answers lost, 100,000 users",
        NOBODY._replace(lost=0.05, users=100_000),
        share=20,
    ),
    Row("30 % of them lost, 100,000 users", NOBODY._replace(lost=0.3, users=100_000), share=20),
)
"""For the sample ratio."""

HORIZONS = (0.25, 1.0, 4.0, 16.0, 64.0)
"""Instead of `compare.HORIZON`, each tried on `TRIED` releases."""
TRIED = 50


def measure(releases: int) -> str:
    """The tables; what they were made of is written to `RESULTS`."""
    simulate(Traffic((CTR,), panes=1), 0)
    kinds = (
        ("rolled back without cause (α = 0.05)", _false, FALSE),
        ("promoted without cause (α = 0.05)", _passed, PASSED),
        ("rolled back with cause", _power, POWER),
        ("sample ratio (α = 0.001)", _shares, SHARES),
    )
    tables: dict[str, list[Line]] = {}
    for name, measured, rows in kinds:
        tables[name] = []
        for row in rows:
            tables[name].append(measured(row, releases))
            print(tables[name][-1], file=sys.stderr, flush=True)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(tables, indent=1, ensure_ascii=False) + "\n")
    return "\n\n".join(_printed(name, lines) for name, lines in tables.items())


def policy(row: Row) -> ReleasePolicy:
    """The release's policy: its first step is what the boundary is tuned by."""
    return ReleasePolicy(
        steps=tuple(Step(weight=weight, hold=Duration(0)) for weight in row.traffic.weights),
        guardrails=row.guardrails,
        success=row.success,
    )


def course(row: Row, seed: int) -> Course:
    """One release, from its first look to what ends it, or to its last look."""
    rules, sums = policy(row), simulate(row.traffic, seed)
    guardrails, goal = compare.guardrails(rules), compare.success(rules)
    looks = len(sums.denominators)
    failed, passed, repeated, independent = (np.zeros(looks, bool) for _ in range(4))
    for metric, test in enumerate(guardrails):
        estimate = test.estimate(sums.numerators[metric], sums.denominators)
        sound = np.ones(looks, bool)
        readings = test.read(estimate, sound)
        failed |= readings.proven
        repeated |= readings.enough & (readings.statistic > stats.norm.isf(test.sequence.alpha))
        independent |= test.read(estimate._replace(clustered=estimate.independent), sound).proven
    if goal is not None:
        stepped = looks - looks // len(row.traffic.weights)
        found = goal.examine(sums.numerators[0, :-FINAL], sums.denominators[:-FINAL]).proven
        passed[FINAL:] = found & (np.arange(FINAL, looks) >= stepped)
    ended = failed | passed
    look = int(ended.argmax()) if ended.any() else looks - 1
    outcome = _verdict(guardrails, goal, sums, look)
    assert (outcome is Outcome.FAILED, outcome is Outcome.SUCCESSFUL) == (
        failed[look],
        passed[look] and not failed[look],
    )
    return Course(
        outcome,
        look,
        float(sums.denominators[look].sum()),
        bool(repeated.any()),
        bool(independent.any()),
    )


def strata(sums: Sums, metric: int, look: int) -> list[Stratum]:
    """The sums of one look, as the judge's evidence has them."""
    return [
        Stratum(*(Ratio(*ratio) for ratio in zip(numerators, denominators, strict=True)))
        for numerators, denominators in zip(
            sums.numerators[metric, look], sums.denominators[look], strict=True
        )
    ]


def _verdict(guardrails: Sequence[Hypothesis], goal: Hypothesis | None, sums: Sums, look: int) -> Outcome:
    findings: list[Finding] = [test.look(strata(sums, i, look)) for i, test in enumerate(guardrails)]
    success = None if goal is None else goal.look(strata(sums, 0, look - FINAL))
    return verdict.judge(Look(findings, success, stepped=True, overdue=False)).outcome


def _false(row: Row, releases: int) -> Line:
    start = time.perf_counter()
    courses = [course(row, seed) for seed in range(_size(row, releases))]
    return {
        "release": row.name,
        "releases": len(courses),
        "rolled back": _share([each.outcome is Outcome.FAILED for each in courses]),
        "z-test at every look": _share([each.repeated for each in courses]),
        "requests as independent": _share([each.independent for each in courses]),
        "s": round(time.perf_counter() - start),
    }


def _passed(row: Row, releases: int) -> Line:
    start = time.perf_counter()
    courses = [course(row, seed) for seed in range(_size(row, releases))]
    return {
        "release": row.name,
        "releases": len(courses),
        "promoted": _share([each.outcome is Outcome.SUCCESSFUL for each in courses]),
        "s": round(time.perf_counter() - start),
    }


def _power(row: Row, releases: int) -> Line:
    start = time.perf_counter()
    courses = [course(row, seed) for seed in range(_size(row, releases))]
    ended = [each.requests for each in courses if each.outcome is Outcome.FAILED]
    (test,) = compare.guardrails(policy(row))
    fixed = fixed_horizon.size(row.traffic, test)
    half = float(np.median(ended)) if ended else float("nan")
    tuned = _tuned(row, test)
    return {
        "release": row.name,
        "rolled back": f"{len(ended)} of {len(courses)}",
        "half of them by": f"{half:,.0f}",
        "fixed horizon": f"{fixed.requests:,.0f}",
        "power there": f"{fixed.power:.0%}",
        "ratio": round(half / fixed.requests, 2),
        **{f"horizon {horizon:g}": f"{each / fixed.requests:.2f}" for horizon, each in tuned.items()},
        "s": round(time.perf_counter() - start),
    }


def _tuned(row: Row, test: Hypothesis) -> dict[float, float]:
    """By how many requests half of the releases are rolled back where the sequence is tuned otherwise."""
    planned = test.sequence.tuned / compare.HORIZON
    ends: dict[float, list[float]] = {horizon: [] for horizon in HORIZONS}
    for seed in range(TRIED):
        sums = simulate(row.traffic, seed)
        estimate = test.estimate(sums.numerators[0], sums.denominators)
        for horizon, found in ends.items():
            other = test._replace(sequence=test.sequence._replace(tuned=planned * horizon))
            proven = other.read(estimate, np.ones(len(sums.denominators), bool)).proven
            found.append(float(sums.denominators[proven.argmax()].sum()) if proven.any() else np.inf)
    return {horizon: float(np.median(found)) for horizon, found in ends.items()}


def _shares(row: Row, releases: int) -> Line:
    start = time.perf_counter()
    weights, found, counted, half = row.traffic.weights, [], [], []
    for seed in range(_size(row, releases)):
        denominators = simulate(row.traffic, seed).denominators
        flagged = np.zeros(len(denominators), bool)
        for number, weight in enumerate(weights):
            predictions = denominators[:, number]
            tests = srm.Mismatch(weight, srm.spent(srm.ALPHA, number + 1)).examine(predictions)
            for side in tests:
                flagged |= side.proven
        found.append(bool(flagged.any()))
        counted.append(_multinomial(denominators[:, -1], weights[-1]))
        if flagged.any():
            half.append(float(denominators[flagged.argmax()].sum()))
    return {
        "traffic": row.name,
        "releases": len(found),
        "mismatch": _share(found),
        "half of them by": f"{np.median(half):,.0f}" if half else "",
        "Lindon and Malek, on requests": _share(counted),
        "s": round(time.perf_counter() - start),
    }


def _multinomial(predictions: npt.NDArray[np.float64], weight: float, spread: float = 100.0) -> bool:
    """Whether Lindon and Malek's test of counts ever rejects: the Bayes factor of a Dirichlet prior about the
    weights against the weights themselves (their theorem 3.2), for two arms.
    """
    judged, both = predictions[:, 0].sum(axis=-1), predictions.sum(axis=(1, 2))
    a, b = spread * weight, spread * (1 - weight)
    factor = special.betaln(a + judged, b + both - judged) - special.betaln(a, b)
    factor -= judged * np.log(weight) + (both - judged) * np.log1p(-weight)
    return bool((factor > -np.log(srm.ALPHA)).any())


def _size(row: Row, releases: int) -> int:
    return max(1, releases // row.share)


def _share(found: Sequence[bool]) -> str:
    """The share, and Clopper and Pearson's upper bound of it at 95 %."""
    k, n = sum(found), len(found)
    upper = float(stats.beta.ppf(0.95, k + 1, n - k)) if k < n else 1.0
    return f"{k / n:.2%} (at most {upper:.2%})"


def _printed(name: str, lines: list[Line]) -> str:
    heads = list(lines[0])
    rows = ["| " + " | ".join(str(line[head]) for head in heads) + " |" for line in lines]
    return "\n".join([f"{name}", "", "| " + " | ".join(heads) + " |", "|" + "---|" * len(heads), *rows])
