"""Records of an event topic, scanned as soon as they came: what the stage is given."""

from streams.columns import Records
from streams.join.rows import Scanned


class Events(Records):
    """n records, and the same n as `scanned`."""

    __slots__ = ("scanned",)

    def __init__(self, records: Records, scanned: Scanned) -> None:
        super().__init__(
            records.data, records.offsets, records.timestamps, records.keys, records.values, records.headers
        )
        self.scanned = scanned

    def part(self, which: slice) -> "Events":
        """Some of them, of the same kind."""
        first, last, _ = which.indices(len(self))
        reasons = {i - first: reason for i, reason in self.scanned.reasons.items() if first <= i < last}
        scanned = self.scanned._replace(rows=self.scanned.rows[which], reasons=reasons)
        return Events(super().part(which), scanned)
