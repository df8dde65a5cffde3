"""How fast an error budget is used up: the share of bad events in units of what the objective leaves. 1 uses
the budget up just in time, 14.4 in an hour a fiftieth of a month's.

B. Beyer and others, The Site Reliability Workbook, 2018, chapter 5: an alert on several windows at once, a
long one so that it is worth it, a short one so that it is still so.
"""

from typing import NamedTuple

from schemas.policies import BurnRate, Duration


class Spent(NamedTuple):
    """Bad and all events in a window; `known`: how much of the window anything is known of, 0 to 1."""

    bad: float
    all: float
    known: float = 1.0


def rate(burn: BurnRate, spent: Spent) -> float | None:
    """How many times as fast as it may be the budget is used up; None without events. What is not known of a
    window counts as if nothing bad had happened there: a new model does not page for its first errors.

    >>> round(rate(BurnRate(objective=0.99, factor=14.4, windows=()), Spent(20, 100)), 9)
    20.0
    """
    return spent.bad / spent.all * spent.known / (1 - burn.objective) if spent.all > 0 else None


def slowest(rates: list[float | None]) -> float | None:
    """What all windows agree on; None while one of them says nothing."""
    found = [rate for rate in rates if rate is not None]
    return min(found) if found and len(found) == len(rates) else None


def notes(burn: BurnRate, rates: list[float | None]) -> dict[str, str]:
    """What an alert says of each window."""
    return {
        f"burn_rate_{Duration(window)}": f"{rate:.3g}"
        for window, rate in zip(burn.windows, rates, strict=True)
        if rate is not None
    }
