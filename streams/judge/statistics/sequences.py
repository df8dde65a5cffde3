"""The boundary of an asymptotic confidence sequence: how far an estimate must be from what it is held
against, at any of many looks.

One-sided, by a mixture over half-normal alternatives (Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas:
"Time-uniform central limit theory and asymptotic confidence sequences", Annals of Statistics 2024, one-sided
sequences; the closed form of the one-sided normal mixture is Howard, Ramdas, McAuliffe, Sekhon:
"Time-uniform, nonparametric, nonasymptotic confidence sequences", 2021, section 3). Nothing here knows what
is estimated.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class Sequence(NamedTuple):
    """A one-sided sequence: crossed at any look with probability `alpha` at most where there is nothing to
    find.

    `tuned` is the effective sample count at which it is tightest. It is chosen before there are data, else
    the level does not hold.
    """

    alpha: float
    tuned: float

    @property
    def mixing(self) -> float:
        """The samples' worth of the mixture (1/ρ² of the paper), which makes the boundary tightest at
        `tuned`, to a close approximation.
        """
        spent = -2 * math.log(min(2 * self.alpha, 0.9))
        return self.tuned / (spent + math.log1p(spent))

    def boundary(self, samples: Floats | float) -> Floats:
        """By how many standard errors the estimate from `samples` effective samples must be away, one for
        each; infinite where there are none.

        >>> Sequence(alpha=0.05, tuned=1000).boundary(np.array([0.0, 1000.0])).round(2).tolist()
        [inf, 2.78]
        """
        counts = np.asarray(samples, float)
        some = counts > 0
        n = np.where(some, counts, 1.0)
        grown = (n + self.mixing) / self.mixing
        squared = 2 * (n + self.mixing) / n * np.log1p(np.sqrt(grown) / (2 * self.alpha))
        return np.where(some, np.sqrt(squared), np.inf)


def student(deviation: Floats | float, degrees: Floats | float) -> Floats:
    """What `deviation` standard errors of a known variance are where the variance is estimated with so many
    degrees of freedom; infinite where there are none.

    Wallace's approximation to Student's t ("Bounds on normal approximations to Student's and the chi-square
    distributions", 1959): it keeps few clusters from looking surer than they are.
    """
    known = np.asarray(degrees, float)
    some = known > 0
    free = np.where(some, known, 1.0)
    with np.errstate(over="ignore"):
        return np.where(some, np.sqrt(free * np.expm1(np.square(deviation) / free)), np.inf)
