"""A shadow beside the stable version: scores, latency and ranking quality of the same requests, of which
nobody sees the shadow's answers.

Sums of final panes are folded, oldest first, so that a look costs the same however long the shadow stands and
a successor needs the sums and the panes that are not folded. What they say is `beside.py`'s; nothing here
moves traffic. Pure.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from schemas.policies import Policy, ReleasePolicy, ShadowLimit
from schemas.records import SCORE, Distribution
from streams.judge.facts.panes import Window
from streams.judge.releases import packing
from streams.judge.releases.beside import ALWAYS, Comparison, Pair, Reader, Report
from streams.judge.releases.checkpoint import Kept, Side
from streams.metrics import tallies
from streams.metrics.catalogue import RANKING
from streams.metrics.tallies import EMPTY, Tally

SHADOW = "shadow"
"""The arm."""


class Shadow:
    """The comparison of `shadow` with `stable` in panes that start at event time `since` (ms) or later."""

    def __init__(self, shadow: str, stable: str, since: int) -> None:
        self.shadow, self.stable, self.since = shadow, stable, since
        self.through = since
        self._folded = Pair(EMPTY, EMPTY)
        self._kept: Kept | None = None

    @classmethod
    def recall(cls, kept: Kept) -> "Shadow":
        """A predecessor's. Raises ValueError where it cannot be read."""
        made = cls(kept.shadow, kept.stable, kept.since)
        arrays = iter(packing.unpack(kept.arrays, sum(len(side.names) for side in kept.sides)))
        made._folded = Pair(
            *(
                Tally(
                    sums=side.sums,
                    latency=side.latency,
                    features={SCORE: side.scores},
                    bucketed={name: next(arrays) for name in side.names},
                )
                for side in kept.sides
            )
        )
        made.through = kept.through
        return made

    def keep(self) -> Kept:
        """What is folded."""
        if self._kept is None or self._kept.through != self.through:
            names = [tuple(sorted(side.bucketed)) for side in self._folded]
            self._kept = Kept(
                shadow=self.shadow,
                stable=self.stable,
                since=self.since,
                through=self.through,
                sides=(_side(self._folded.shadow, names[0]), _side(self._folded.stable, names[1])),
                arrays=packing.pack(
                    [
                        side.bucketed[name]
                        for side, mine in zip(self._folded, names, strict=True)
                        for name in mine
                    ]
                ),
            )
        return self._kept

    def skip(self, before: int) -> None:
        """Panes that start before this event time (ms) shall not count any more, but for what is folded."""
        self.through = max(self.through, before)

    def fold(self, windows: Iterable[Window]) -> None:
        """Takes in for good the final windows, the oldest first, up to one that is not; they may be forgotten
        then.
        """
        for window in self._open(windows):
            if not window.final:
                return
            self._folded = self._with(self._folded, [window])
            self.through = window.end

    def look(
        self, policy: Policy, profiles: Mapping[str, Mapping[str, Distribution]], windows: Iterable[Window]
    ) -> Report:
        """How both do in all panes so far. `profiles`: the distributions of each version, by name."""
        pair = self._with(self._folded, self._open(windows))
        release = policy.release or ReleasePolicy()
        limits = {limit.metric for limit in release.shadow.limits}
        ranking = [
            f"{metric.name.removesuffix('@k')}@{k}" if metric.name.endswith("@k") else metric.name
            for metric in RANKING
            for k in (policy.k if metric.name.endswith("@k") else policy.k[:1])
        ]
        rest = [ShadowLimit(metric=name) for name in (*ALWAYS, *ranking) if name not in limits]
        scores = [profiles.get(version, {}).get(SCORE) for version in (self.shadow, self.stable)]
        reader = Reader(pair, release, (scores[0], scores[1]))
        found = (reader.compare(limit) for limit in (*release.shadow.limits, *rest))
        samples = [side.sums.get("predictions", 0.0) for side in pair]
        return Report(
            shadow=self.shadow,
            stable=self.stable,
            since=self.since,
            samples=(samples[0], samples[1]),
            comparisons=tuple(comparison for comparison in found if comparison is not None),
        )

    def _open(self, windows: Iterable[Window]) -> list[Window]:
        """Those that are not folded, by their time."""
        mine = (window for window in windows if window.start >= self.through)
        return sorted(mine, key=lambda window: (window.start, window.end))

    def _with(self, pair: Pair, windows: Iterable[Window]) -> Pair:
        """The pair and the windows in which the shadow answered."""
        shadow, stable = [pair.shadow], [pair.stable]
        for window in windows:
            found = Pair(*(_together(window, version, self.stable) for version in (self.shadow, self.stable)))
            if found.shadow.sums.get("predictions"):
                shadow.append(found.shadow)
                stable.append(found.stable)
        return Pair(tallies.merge(shadow), tallies.merge(stable))


def exceeded(report: Report) -> Iterator[Comparison]:
    """What is beyond a limit of the policy."""
    return (found for found in report.comparisons if found.state == "exceeded")


def _together(window: Window, version: str, stable: str) -> Tally:
    """What a version answered in a window: the shadow as such, the stable version not."""
    return tallies.merge(
        Tally(sums=t.sums, latency=t.latency, features=_of_scores(t), bucketed=t.bucketed)
        for series, cell in window.cells.items()
        if series.version == version and not series.segment and (series.arm == SHADOW) == (version != stable)
        for t in cell.tallies
    )


def _of_scores(tally: Tally) -> Mapping[str, Sequence[int]]:
    return {SCORE: tally.features[SCORE]} if SCORE in tally.features else {}


def _side(tally: Tally, names: tuple[str, ...]) -> Side:
    return Side(
        sums=dict(tally.sums),
        latency=dict(tally.latency),
        scores=[*tally.features.get(SCORE, ())],
        names=names,
    )
