"""Whose panes a rule is about: a version, an arm, a segment, as its `where` says."""

from collections.abc import Mapping
from typing import NamedTuple

from schemas.policies import Rule
from streams.judge.facts.panes import Cell, Series, Window
from streams.metrics.drift import FEATURE

ROLES = ("version", "arm")
"""Keys of `where` that are not segments."""
STABLE, CANDIDATE, SHADOW = "stable", "candidate", "shadow"


class Scope(NamedTuple):
    """All series of a version (None: of all), of an arm (None: of all but the shadow), of one segment's value
    (empty: of all requests together).
    """

    version: str | None = None
    arm: str | None = None
    segment: str = ""
    segment_value: str = ""

    def takes(self, series: Series) -> bool:
        """Whether a series is in it."""
        if series.segment != self.segment or series.segment_value != self.segment_value:
            return False
        if self.version is not None and series.version != self.version:
            return False
        return series.arm == self.arm if self.arm is not None else series.arm != SHADOW

    def cells(self, window: Window) -> list[tuple[Series, Cell]]:
        """Its cells in a window."""
        return [(series, cell) for series, cell in window.cells.items() if self.takes(series)]

    @property
    def stable(self) -> "Scope":
        """What stable has of the same."""
        return self._replace(version=None, arm=STABLE)


def of(rule: Rule) -> Scope:
    """Whose panes a rule is about. One that is held against stable is about the candidate where it names
    nobody.
    """
    scope = named(rule.where)
    against = rule.baseline is not None and rule.baseline.of == STABLE
    return scope._replace(arm=CANDIDATE) if against and scope[:2] == (None, None) else scope


def named(where: Mapping[str, str]) -> Scope:
    """Whom a `where` names; a `feature` is nobody."""
    key, value = next(((key, word) for key, word in where.items() if key not in (*ROLES, FEATURE)), ("", ""))
    return Scope(where.get("version"), where.get("arm"), key, value)
