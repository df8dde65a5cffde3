"""How old predictions must be before metrics that wait for feedback are read from them: the policy's word,
or as long as clicks take.

Only final panes are counted here: in others the late clicks are still missing, and the delays would look too
short.
"""

from collections.abc import Mapping

from schemas.policies import AUTO, Policy
from streams.judge.facts.panes import Window
from streams.metrics import histogram, tallies

HOUR = 3_600_000
HOURS = 24
CLICKS = 1_000
"""With fewer clicks the attribution window is taken."""
QUANTILE = 0.95


class Delays:
    """The delays of the stable version's clicks in final panes, by hour of event time, for a day. `counted`:
    the last window's start.
    """

    def __init__(self, hours: Mapping[int, Mapping[int, int]] | None = None, counted: int = 0) -> None:
        self.hours: dict[int, dict[int, int]] = {hour: dict(counts) for hour, counts in (hours or {}).items()}
        self.counted = counted

    def add(self, window: Window) -> None:
        """Counts a window that has become final; those that start before one that is counted are late, and
        left out.
        """
        if window.start <= self.counted:
            return
        self.counted = window.start
        found = [
            cell.click_delay
            for series, cell in window.cells.items()
            if series.arm == "stable" and not series.segment
        ]
        hour = window.start // HOUR
        self.hours[hour] = tallies.add([self.hours.get(hour, {}), *found])
        for old in [other for other in self.hours if other <= hour - HOURS]:
            del self.hours[old]

    def counts(self) -> Mapping[int, int]:
        """The histogram of the last day, in ms."""
        return tallies.add(self.hours.values())


def maturity(policy: Policy, delays: Delays) -> int:
    """In ms. Under `auto` it is the p95 of the delays, or the attribution window where they are too few or
    longer.
    """
    window = int(policy.attribution.window)
    if policy.maturity is not AUTO:
        return int(policy.maturity)
    counts = delays.counts()
    if sum(counts.values()) < CLICKS:
        return window
    delay = histogram.quantile(counts, QUANTILE)
    return window if delay is None else min(window, int(delay) + 1)
