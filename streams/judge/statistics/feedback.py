"""Whether feedback has stopped coming while predictions go on: a pipeline that broke, not users who stopped
clicking.

The reference is the yardstick. Where *its* clicks stop, nothing can be told from either version: both look
the same if all clicks are lost, and the judged version looks splendid if only the reference's are. Where only
the judged version's stop, they may be lost or its users may not click: that cannot be told apart, and is a
reason to roll back either way, which the guardrails see to.

Pure functions of the reference's sums, pane by pane in the order of time.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec

from streams.metrics import catalogue
from streams.metrics.catalogue import Ratio

PREDICTIONS = "predictions"
EXPECTED = 30.0
"""So many events must be missed before they are said to be missing. If users' clicks come in bursts of five
(a negative binomial), as many are all absent by luck once in 180,000 times.
"""
_CUT_OFF = re.compile(r"@[0-9]+$")
GIVEN = frozenset(("impressions", "pairs"))
"""Denominators that predictions make by themselves; all others come with feedback."""


class Quiet(msgspec.Struct, frozen=True, array_like=True):
    """Since events of some kind were last counted: `since` is the end (ms) of the pane that had some,
    `predictions` those of the panes after it.
    """

    since: int
    predictions: float = 0.0


class Pane(NamedTuple):
    """What the reference has in one pane, by sum."""

    start: int
    end: int
    sums: Mapping[str, float]


def telling(metric: Ratio) -> str | None:
    """The sum that tells whether feedback comes for this metric; None where none does: it needs no feedback,
    or rests on final panes, which come too late to tell.
    """
    if not metric.feedback or metric.final or not metric.denominator:
        return None
    (denominator, *_) = metric.denominator
    if (once := _CUT_OFF.sub("", denominator)) in catalogue.OF_ALL_CUT_OFFS:
        return once
    return metric.numerator[0] if denominator in GIVEN else denominator


TELLING = frozenset(found for metric in catalogue.RATIOS if (found := telling(metric)) is not None)
"""All such sums; a cut-off is written `@k`."""


def after(quiet: Mapping[str, Quiet], pane: Pane) -> dict[str, Quiet]:
    """How long it has been quiet after one more pane, for each sum that tells and has been heard of."""
    found = {
        name: Quiet(held.since, held.predictions + pane.sums.get(PREDICTIONS, 0.0))
        for name, held in quiet.items()
    }
    heard = (name for name, value in pane.sums.items() if value > 0)
    return found | {
        name: Quiet(pane.end) for name in heard if _CUT_OFF.sub(catalogue.CUT_OFF, name) in TELLING
    }


def before(quiet: Mapping[str, Quiet], names: Iterable[str], panes: Iterable[Pane]) -> dict[str, Quiet]:
    """The same for the sums called `names`, from what it was before `panes`, the newest of which comes first:
    no more of them are asked for than tell.
    """
    found: dict[str, Quiet] = {}
    waiting, predictions = list(names), 0.0
    for pane in panes:
        found |= {name: Quiet(pane.end, predictions) for name in waiting if pane.sums.get(name, 0.0) > 0}
        waiting = [name for name in waiting if name not in found]
        if not waiting:
            break
        predictions += pane.sums.get(PREDICTIONS, 0.0)
    held = {name: quiet[name] for name in waiting if name in quiet}
    return found | {name: Quiet(old.since, old.predictions + predictions) for name, old in held.items()}


def missing(
    quiet: Mapping[str, Quiet], whole: Callable[[str], float], until: int, patience: int
) -> str | None:
    """What has stopped coming, in words; None where nothing has. `whole` answers the reference's sum in all
    panes, the last of which ends at `until` (ms). What has stopped for less than `patience` (ms) nobody needs
    to know yet.
    """
    for name, held in quiet.items():
        if until - held.since < patience or not held.predictions:
            continue
        others = whole(PREDICTIONS) - held.predictions
        expected = whole(name) * held.predictions / others if others > 0 else 0.0
        if expected >= EXPECTED:
            return (
                f"no feedback: {held.predictions:,.0f} predictions of the version that is compared with have "
                f"no {name}, {expected:,.0f} were to be expected; see whether feedback.events still comes"
            )
    return None
