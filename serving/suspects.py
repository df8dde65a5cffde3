"""Which requests may have ended a worker, and which did. Pure.

Whatever ran when a worker crashed or hung is suspected, and tried again alone. What runs alone when it
happens a second time is guilty, and is never run again. So a request that ends its worker costs two lives and
only its own answer, whatever ran beside it; and one that is innocent is answered.
"""

from collections.abc import Iterable

import msgspec

from schemas.records import Arm
from serving.flight import Aboard, Place

TRIES = 2
"""Ends of a worker after which a request that ran alone is guilty."""

MOST = 10_000
"""Requests that are remembered; beyond, the oldest are forgotten. An offset never comes again, so those that
are answered need not be found and taken out."""


class Suspect(msgspec.Struct):
    """A request that ran when a worker ended: as which part (`shadow`: beside the answer), how the worker
    ended each time, and whether that is its own doing."""

    partition: int
    offset: int
    shadow: bool
    ends: list[str]
    guilty: bool = False


class Suspects:
    """All that are known, by request and part. The supervisor adds, its workers ask."""

    def __init__(self, known: Iterable[Suspect] = ()) -> None:
        self._known = {(one.partition, one.offset, one.shadow): one for one in known}

    def __len__(self) -> int:
        return len(self._known)

    def list(self) -> list[Suspect]:
        """All, the oldest first: what the next worker is told."""
        return list(self._known.values())

    def add(self, aboard: Aboard, end: str) -> Suspect | None:
        """A worker ended, `end` says how, while `aboard` ran. Answers the request that is guilty by that."""
        alone = len(aboard.places) == 1
        for partition, offset in aboard.places:
            key = (partition, offset, aboard.arm == "shadow")
            suspect = self._known.pop(key, None) or Suspect(*key, ends=[])
            self._known[key] = suspect
            suspect.ends.append(end)
            suspect.guilty = alone and len(suspect.ends) >= TRIES
        for key in list(self._known)[: max(0, len(self._known) - MOST)]:
            del self._known[key]
        return suspect if alone and suspect.guilty else None

    def alone(self, place: Place, arm: Arm) -> bool:
        """Whether the request at `place` must not run with others."""
        return bool(self._known) and self._key(place, arm) in self._known

    def reason(self, place: Place, arm: Arm) -> str | None:
        """Why the request at `place` must not run at all; None where it may."""
        suspect = self._known.get(self._key(place, arm)) if self._known else None
        if suspect is None or not suspect.guilty:
            return None
        ends = " and then ".join(suspect.ends)
        return f"running this request has ended the worker {len(suspect.ends)} times: {ends}"

    @staticmethod
    def _key(place: Place, arm: Arm) -> tuple[int, int, bool]:
        return place.partition, place.offset, arm == "shadow"
