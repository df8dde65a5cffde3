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

    def boundary(self, samples: float) -> float:
        """By how many standard errors the estimate from `samples` effective samples must be away; infinite
        where there are none.

        >>> round(Sequence(alpha=0.05, tuned=1000).boundary(1000), 2)
        2.78
        """
        if samples <= 0:
            return math.inf
        grown = (samples + self.mixing) / self.mixing
        return math.sqrt(
            2 * (samples + self.mixing) / samples * math.log1p(math.sqrt(grown) / (2 * self.alpha))
        )


def student(deviation: float, degrees: float) -> float:
    """What `deviation` standard errors of a known variance are where the variance is estimated with so many
    degrees of freedom.

    Wallace's approximation to Student's t ("Bounds on normal approximations to Student's and the chi-square
    distributions", 1959): it keeps few clusters from looking surer than they are.
    """
    if degrees <= 0:
        return math.inf
    exponent = deviation * deviation / degrees
    return math.sqrt(degrees * math.expm1(exponent)) if exponent < 700 else math.inf
