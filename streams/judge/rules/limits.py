"""Between which values a metric is well, and when it is well again."""

from math import inf
from typing import NamedTuple

from schemas.policies import Rule
from streams.judge.rules.baseline import Usual


class Band(NamedTuple):
    """Violated below `low` or above `high`; what fired is over once the value is inside `calm_low` and
    `calm_high` too.
    """

    low: float = -inf
    high: float = inf
    calm_low: float = -inf
    calm_high: float = inf

    def violated(self, value: float) -> float | None:
        """The limit that `value` is beyond."""
        return self.low if value < self.low else self.high if value > self.high else None

    def calm(self, value: float) -> bool:
        """Whether it is neither violated nor short of being resolved."""
        return self.violated(value) is None and self.calm_low < value < self.calm_high


def fixed(rule: Rule) -> Band:
    """The limits that stand in a rule: `above`, `below` or `outside`."""
    if rule.outside is not None:
        calm = rule.clear if isinstance(rule.clear, tuple) else (-inf, inf)
        return Band(*rule.outside, *calm)
    clear = None if isinstance(rule.clear, tuple) else rule.clear
    if rule.above is not None:
        return Band(high=rule.above, calm_high=inf if clear is None else clear)
    assert rule.below is not None, "check.py has seen to it"
    return Band(low=rule.below, calm_low=-inf if clear is None else clear)


def around(usual: Usual, wide: float, calm: float, bad: tuple[bool, bool]) -> Band:
    """`wide` on the bad sides (low, high) of what is usual, `calm` for what is over; both in the metric's
    unit.
    """
    low, high = bad
    return Band(
        low=usual.reference - wide if low else -inf,
        high=usual.reference + wide if high else inf,
        calm_low=usual.reference - calm if low else -inf,
        calm_high=usual.reference + calm if high else inf,
    )


SILENT = Band(low=1.0)
"""Of a count that must not be nothing."""
