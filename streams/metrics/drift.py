"""How far live values are from a version's reference profile, and how sound they are: distances between
binned counts, and shares of values that are missing or odd.

Pure functions of counts; the same formulas as SQL are in `streams.storage.drift`.

A value's place, as the join tallies it (`Pane.features` by bin, `Pane.quality` as `QUALITY`), of each
feature that the profile has, once for every counted prediction:

| the reference has | the value | counts as |
|---|---|---|
| either | absent, null | `missing`; in no bin |
| `edges` | a number; true and false are 1 and 0 | bin `bisect_right(edges, value)` |
| `edges` | a number below `lowest` or above `highest` | the same, and `out_of_range` |
| `edges` | text | `type_errors`; in no bin |
| `categories` | one of them; true and false are the words `true` and `false` | its bin |
| `categories` | another word | the last bin, and `unseen` |
| `categories` | a number | `type_errors`; in no bin |

`values` counts all of them. Scores are those of all items of ok predictions, as they came.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from schemas.records import QUALITY, Distribution
from streams.metrics.detection import DETECTORS

FLOOR = 1e-4
"""The least proportion that a bin has in the population stability index: an empty one would make it
infinite."""

Counts = Sequence[int]


def psi(counts: Counts, reference: Distribution) -> float | None:
    """The population stability index, Σ (aᵢ − eᵢ) ln(aᵢ/eᵢ) with a of the live and e of the reference's
    values in bin i, as proportions of at least `FLOOR`. None where either has no values.

    B. Yurdakul, "Statistical Properties of Population Stability Index", Western Michigan University 2018.
    Without any drift its mean is about (bins − 1)(1/n + 1/m) for n live and m reference values: with 20
    bins 0.2 at 100 values, so short panes with little traffic exceed a usual threshold by chance, and rules
    should take windows.
    """
    proportions = _proportions(counts, reference)
    if proportions is None:
        return None
    index = 0.0
    for live, expected in proportions:  # no max(): judges ask for this a thousand times a second
        a = live if live > FLOOR else FLOOR
        e = expected if expected > FLOOR else FLOOR
        index += (a - e) * math.log(a / e)
    return index


def jensen_shannon(counts: Counts, reference: Distribution) -> float | None:
    """The Jensen-Shannon distance in base 2, from 0 to 1: the square root of the divergence. None where
    either has no values.

    D. M. Endres and J. E. Schindelin, "A New Metric for Probability Distributions", IEEE Transactions on
    Information Theory 49, 2003; `scipy.spatial.distance.jensenshannon(a, e, base=2)`.
    """
    proportions = _proportions(counts, reference)
    if proportions is None:
        return None
    return math.sqrt(max(0.0, sum((_entropy(a, e) + _entropy(e, a)) / 2 for a, e in proportions)))


def kolmogorov_smirnov(counts: Counts, reference: Distribution) -> float | None:
    """The largest difference of the two cumulative distributions, from 0 to 1, looked for at the bins'
    edges. None where either has no values.

    Between the edges it may be larger: the statistic of the raw values (`scipy.stats.ks_2samp`) is at least
    this, and at most this and the largest min(aᵢ, eᵢ), so never more than the mass of the reference's
    largest bin above.

    Categories have no order. Theirs is the largest over all orders: the total variation distance ½ Σ |aᵢ −
    eᵢ|.
    """
    proportions = _proportions(counts, reference)
    if proportions is None:
        return None
    if reference.categories is not None:
        return _total_variation(proportions)
    return max(abs(gap) for gap in accumulate(a - e for a, e in proportions))


def wasserstein(counts: Counts, reference: Distribution) -> float | None:
    """How far mass has to be moved, on average, to make one distribution the other, in standard deviations
    of the reference: 0.1 is what a shift of all values by a tenth of a deviation makes. None where either
    has no values, or the reference no spread or no extremes.

    W₁ = ∫ |F − G| with each bin's mass at its middle, the outermost bins ending at `lowest` and `highest`
    (`scipy.stats.wasserstein_distance` of these positions). Of raw values within the extremes it is wrong
    by at most Σ (aᵢ + eᵢ) wᵢ/2, where w are the widths of the bins; what is beyond them counts as at them
    (and in `out_of_range_rate`).

    Categories are all equally far apart, at distance 1: that too is the total variation distance. (A. L.
    Gibbs and F. E. Su, "On Choosing and Bounding Probability Metrics", International Statistical Review 70,
    2002.)
    """
    proportions = _proportions(counts, reference)
    if proportions is None:
        return None
    if reference.categories is not None:
        return _total_variation(proportions)
    if reference.lowest is None or reference.highest is None or not reference.deviation:
        return None
    bounds = [reference.lowest, *(reference.edges or ()), reference.highest]
    middles = [(low + high) / 2 for low, high in pairwise(bounds)]
    steps = [b - a for a, b in pairwise(middles)]
    gaps = accumulate(a - e for a, e in proportions)
    return float(sum(abs(gap) * step for gap, step in zip(gaps, steps, strict=False))) / reference.deviation


METHODS: Mapping[str, Callable[[Counts, Distribution], float | None]] = {
    "psi": psi,
    "js": jensen_shannon,
    "ks": kolmogorov_smirnov,
    "wasserstein": wasserstein,
}
"""By the names of the policy's thresholds, of the view's `method`, and of the metrics (`drift_psi`)."""

RATES: Mapping[str, str] = {
    "missing_rate": "missing",
    "out_of_range_rate": "out_of_range",
    "type_error_rate": "type_errors",
    "unseen_rate": "unseen",
}
"""Shares of all values of a feature, by the `QUALITY` count in the numerator."""

OF_NUMBERS = ("out_of_range_rate",)
"""Rates that only features with edges have."""
OF_CATEGORIES = ("unseen_rate",)
"""Rates that only features with categories have."""


FEATURE = "feature"
"""The key of a rule's `where` that names one."""


class OfFeature(NamedTuple):
    """A metric that each feature, the score, or each watched metric has for itself. `method` is the `drift`
    view's.

    `feedback` and `final` are as in the catalogue.
    """

    name: str
    method: str
    doc: str
    feedback: bool = False
    final: bool = False


METRICS: Mapping[str, OfFeature] = {
    metric.name: metric
    for metric in (
        OfFeature("drift_psi", "psi", "Population stability index against the reference profile."),
        OfFeature("drift_js", "js", "Jensen-Shannon distance (base 2) from the reference profile."),
        OfFeature("drift_ks", "ks", "Kolmogorov-Smirnov statistic against the reference profile."),
        OfFeature("drift_wasserstein", "wasserstein", "Wasserstein distance in the reference's deviations."),
        *(
            OfFeature(f"drift_{name}", name, f"Changes that {name} noticed in final panes.", True, True)
            for name in DETECTORS
        ),
    )
}
"""What rules may ask for beside the catalogue: of the feature that `where` names, or of the worst one."""


def fits(counts: Counts, reference: Distribution) -> bool:
    """Whether the counts are of the reference's bins; those of an earlier format, or of other bins, are
    not.
    """
    return len(counts) == len(reference.counts)


def rate(name: str, quality: Sequence[int]) -> float | None:
    """The share called `name` of a feature's `QUALITY` counts; None without values."""
    values = quality[QUALITY.index("values")]
    return quality[QUALITY.index(RATES[name])] / values if values else None


def _proportions(counts: Counts, reference: Distribution) -> list[tuple[float, float]] | None:
    live, expected = sum(counts), sum(reference.counts)
    if not live or not expected:
        return None
    return [(a / live, e / expected) for a, e in zip(counts, reference.counts, strict=True)]


def _total_variation(proportions: list[tuple[float, float]]) -> float:
    return sum(abs(a - e) for a, e in proportions) / 2


def _entropy(of: float, other: float) -> float:
    """A bin's part of the relative entropy, in bits, to the middle of both."""
    return of * math.log2(2 * of / (of + other)) if of else 0.0
