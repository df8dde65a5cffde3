"""Which features of a version are furthest from its reference profile: what people ask next when a release is
rolled back.
"""

from collections.abc import Iterable, Mapping

from schemas.policies import Drift as Limits
from schemas.records import Distribution
from streams.judge.facts.panes import Window
from streams.metrics import drift, tallies

MOST = 5
"""So many features are named."""


def furthest(
    version: str, profile: Mapping[str, Distribution], windows: Iterable[Window], limits: Limits
) -> list[dict[str, object]]:
    """The features (and the score) of `version` by their population stability index, the furthest first, each
    beside the policy's limit.
    """
    cells = (
        cell
        for window in windows
        for series, cell in window.cells.items()
        if series.version == version and not series.segment
    )
    live = tallies.add_lists(tally.features for cell in cells for tally in cell.tallies)
    known = ((name, counts, profile[name]) for name, counts in live.items() if name in profile)
    found = [
        (value, name)
        for name, counts, reference in known
        if drift.fits(counts, reference) and (value := drift.psi(counts, reference)) is not None
    ]
    return [
        {"feature": name, "psi": value, "limit": limits.psi}
        for value, name in sorted(found, reverse=True)[:MOST]
    ]
