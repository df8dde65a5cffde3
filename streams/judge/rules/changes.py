"""When a sequence of values has changed: ADWIN and Page-Hinkley, as `river.drift` has them, step by step.

Importing `river.drift` imports scipy and scikit-learn: 1.7 s and 140 MiB, in every judge and every command
that reads a policy. So ADWIN is taken from river's compiled part, by the name that it has there
(which is why river is pinned to a minor version), and Page-Hinkley, ten lines, is here.
`tests/unit/test_drift_detectors.py` holds both against `river.drift`, value by value.

A. Bifet and R. Gavaldà, "Learning from Time-Changing Data with Adaptive Windowing", SIAM International
Conference on Data Mining 2007. E. S. Page, "Continuous Inspection Schemes", Biometrika 41, 1954.
"""

from river._river_rust.drift import AdaptiveWindowing


class Adwin:
    """ADWIN, asked at every value: whether two parts of what it has seen lately differ in their means.
    Values lie in [0, 1].
    """

    def __init__(self, delta: float) -> None:
        """`delta`: the probability of a change where there is none."""
        self._delta = delta
        self._windows = self._begin()
        self.drift_detected = False

    def update(self, value: float) -> None:
        """Takes the next value; `drift_detected` says whether things have changed with it. It begins anew
        after that.
        """
        if self.drift_detected:
            self._windows = self._begin()
        self.drift_detected = self._windows.update(value)

    def _begin(self) -> AdaptiveWindowing:
        return AdaptiveWindowing(
            delta=self._delta, clock=1, max_buckets=5, min_window_length=5, grace_period=10
        )


class PageHinkley:
    """Page's test on both sides, on what values differ from their mean so far: it sums these differences,
    less `tolerance` each, and notices a change where the sum is more than `limit` from its extreme.
    """

    drift_detected: bool
    _count: int
    _mean: float
    _rise: float
    _fall: float
    _lowest: float
    _highest: float

    def __init__(self, warm_up: int, tolerance: float, limit: float) -> None:
        """`warm_up`: values before it says anything; the others are in the unit of the values."""
        self._warm_up = warm_up
        self._tolerance = tolerance
        self._limit = limit
        self._begin()

    def update(self, value: float) -> None:
        """As `Adwin.update`."""
        if self.drift_detected:
            self._begin()
        self._count += 1
        self._mean += 1.0 / self._count * (value - self._mean)
        difference = value - self._mean
        self._rise = self._rise + difference - self._tolerance
        self._fall = self._fall + difference + self._tolerance
        self._lowest = min(self._lowest, self._rise)
        self._highest = max(self._highest, self._fall)
        if self._count >= self._warm_up:
            beyond = max(self._rise - self._lowest, self._highest - self._fall)
            self.drift_detected = beyond > self._limit

    def _begin(self) -> None:
        self.drift_detected = False
        self._count = 0
        self._mean = self._rise = self._fall = 0.0
        self._lowest, self._highest = float("inf"), -1.0
