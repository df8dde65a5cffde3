"""Into which bins scores go: for ROC-AUC by their log-odds, for the reliability diagram by their value.

Both functions are compiled: the join calls them for every shown item.
"""

import numpy as np

from streams.compiled import compiled
from streams.metrics import scored

PER_OCTAVE = 16
"""Bins of ROC-AUC each time that the odds double: within one, odds differ by less than a sixteenth."""

_SHIFT = 19
_EVEN = 127 * PER_OCTAVE


@compiled
def bin_of(score: float) -> int:
    """The bin of a score in [0, 1], by its odds s / (1 − s): exponent and first four bits of the mantissa of
    that as a single-precision number, so ⌊16 · log₂⌋ but for the straight line between powers of two. 0 for
    even odds, from −2032 to 2048; greater scores are never in lower bins.
    """
    odds = np.float32(score / (1.0 - score))
    return int((odds.view(np.int32) >> _SHIFT) - _EVEN)


tenth_of = compiled(scored.tenth_of)
