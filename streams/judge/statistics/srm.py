"""Whether the arms share the users as they ought to (no sample-ratio mismatch), at any of many looks.

A router that sends other users to the candidate than the weight says, or answers that are lost on the way
from one arm, make the arms' users different ones, and their difference is then no effect (A. Fabijan and
others: "Diagnosing sample ratio mismatch in online controlled experiments", KDD 2019).

The unit is the user, not the request: who is in the candidate's arm stays there, so one busy user's requests
all fall on one side. The hashes of arm and bucket are independent, so in each user bucket the judged
version's share of the predictions is its weight in expectation, and the buckets are independent. The
variance of the share is therefore taken between buckets, and the test is the one of an absolute limit, on
both sides. At a small weight the busiest users are seldom in the candidate's arm, and buckets without them
look too sure; but they are in some bucket: how much both arms' predictions together differ between buckets
says what Σ activity² of all users is, and a share of independent users has a variance of w(1−w) Σ activity² /
n² at least. Anytime-valid tests of counts (M. Lindon, A. Malek: "Anytime-valid inference for multinomial
count data", NeurIPS 2022) take each count for an independent one, which requests are not: `tests/bench`
shows how often that one cries wolf.

Each stratum is tested by itself, the k-th with the share 1/(k(k+1)) of alpha, which add up to all of it:
what was right at one weight may be wrong at the next.
"""

import math
from collections.abc import Sequence as Several

import numpy as np

from streams.judge.statistics import compare, ratio
from streams.judge.statistics.compare import Finding, Hypothesis, Readings, State, Stratum
from streams.judge.statistics.ratio import Floats
from streams.judge.statistics.sequences import Sequence
from streams.metrics.catalogue import Adds, Good
from streams.metrics.catalogue import Ratio as Metric

ALPHA = 0.001
"""Of taking equal arms for unequal, over a whole release."""
EXPECTED = 1000
"""Nothing is said of a stratum before its smaller arm ought to have so many predictions."""
HORIZON = 16.0
"""The test is tightest at so many times the predictions at which it may begin: a user has several."""

PREDICTIONS = "predictions"
"""The sum that is shared, by user bucket."""

SHARE = Metric(
    "sample ratio", (PREDICTIONS,), (PREDICTIONS,), Good.NEITHER, "The judged version's share.", Adds.EVENTS
)


def look(strata: Several[Stratum], weights: Several[float | None], alpha: float = ALPHA) -> Finding:
    """Whether the judged version's share of the predictions is not what it ought to be: `PROVEN` where it is
    not in one of the strata.

    `strata` have the predictions of both versions, by user bucket, as denominators; `weights` the share that
    the judged version ought to have in each, None where that is not to be tested. The finding is that of the
    first stratum with a mismatch, or else of the last one that is tested. Its `value`, `effect`, `lower` and
    `upper` are shares of the predictions.
    """
    found = Finding(SHARE.name, State.FEW, alpha=alpha)
    for number, (stratum, weight) in enumerate(zip(strata, weights, strict=True), start=1):
        if weight is None or not 0 < weight < 1:
            continue
        found = _test(stratum, Mismatch(weight, spent(alpha, number)))
        if found.state is State.PROVEN:
            return found
    return found


def spent(alpha: float, number: int) -> float:
    """What the stratum of this number, from 1, has of alpha: all of them together have no more."""
    return alpha / (number * (number + 1))


class Mismatch:
    """That the judged version's share of the predictions is not `weight`, above or below it; both sides
    together have `alpha`.
    """

    def __init__(self, weight: float, alpha: float) -> None:
        self.weight, self.alpha = weight, alpha
        fewest = math.ceil(EXPECTED / min(weight, 1 - weight))
        sequence = Sequence(alpha / 2, HORIZON * fewest)
        self.sides = tuple(
            Hypothesis(f"{SHARE.name} of {weight:g}", SHARE, direction, weight, False, fewest, sequence)
            for direction in (1, -1)
        )

    def examine(self, predictions: Floats) -> tuple[Readings, ...]:
        """What both sides say to predictions of shape (looks…, 2, buckets), the judged version first."""
        judged, both = predictions[..., 0, :], predictions.sum(axis=-2)
        nothing = np.zeros_like(judged)
        numerators, denominators = (
            np.stack([sums, nothing], axis=-2)[..., np.newaxis, :, :] for sums in (judged, both)
        )
        estimate = ratio.absolute(numerators, denominators, self.weight, SHARE.adds)
        n = both.sum(axis=-1)
        apart = both.var(axis=-1, ddof=1) * both.shape[-1]
        users = self.weight * (1 - self.weight) * apart * ratio.inverse(n) ** 2
        estimate = estimate._replace(independent=np.maximum(estimate.independent, users))
        return tuple(side.read(estimate, np.isfinite(n)) for side in self.sides)


def _test(stratum: Stratum, mismatch: Mismatch) -> Finding:
    predictions = np.stack([stratum.judged.denominator, stratum.reference.denominator])
    readings = mismatch.examine(predictions)
    findings = [compare.finding(side, read) for side, read in zip(mismatch.sides, readings, strict=True)]
    worse = max(findings, key=lambda side: side.statistic if side.statistic > 0 else 0.0)
    judged, reference = predictions.sum(axis=-1)
    return worse._replace(samples=(float(judged), float(reference)), alpha=mismatch.alpha)
