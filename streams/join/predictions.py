"""A counted prediction, what it has been answered with so far, and what that adds to the sums of its pane.

The facts are kept, not only the sums: where a request that names the user or the surface is read after its
prediction, the contribution is taken out of its cells and put into the right ones, so that the order of
reading makes no difference.
"""

from collections.abc import Iterator, Mapping

from schemas.policies import Policy
from schemas.records import SCORE, Feedback, Prediction, Request
from streams.join.ledger import Batch
from streams.join.profiles import Binning
from streams.join.users import bucket_of
from streams.join.windows import Series, Window
from streams.metrics.histogram import bin_of

EARLY = 60_000
"""Feedback may be stamped this many ms before its prediction (clocks differ)."""

CLICK, PURCHASE, IMPRESSION = "click", "purchase", "impression"


class Answered:
    """A prediction that counts. Times are epoch ms; `keep` is until when later ones of its request are its
    duplicates.
    """

    __slots__ = (
        "_binnings", "_bucket", "_cells", "_clicked", "_delays", "_duplicates", "_expired", "_features",
        "_impressed", "_items", "_latency_ms", "_purchased", "_relevant", "_request_id", "_scores", "_seen",
        "_segments", "_shown", "_surface", "_timed", "_user", "arm", "batch", "deadline", "generation",
        "keep", "model", "ok", "past", "policy", "requested", "ts", "version", "window",
    )  # fmt: skip

    def __init__(
        self, prediction: Prediction, ts: int, past: int, policy: Policy, window: Window, batch: Batch
    ) -> None:
        self.model = prediction.model
        self.version = prediction.version
        self.arm = prediction.arm
        self.generation = -1 if prediction.generation is None else prediction.generation
        self.ok = prediction.status == "ok"
        self.ts = ts
        self.past = past
        self.policy = policy
        self.window = window
        self.batch = batch
        self.deadline = self.keep = window.deadline
        self.requested = False
        self._request_id = prediction.request_id
        self._items = [str(item) for item in prediction.items or ()] if self.ok else []
        shown = len(self._items) if prediction.shown is None else min(prediction.shown, len(self._items))
        self._shown = 0 if self.arm == "shadow" else shown
        self._scores = prediction.scores if self.ok else None
        self._latency_ms = prediction.latency_ms
        self._timed = prediction.status in ("ok", "timeout")
        self._user = prediction.user
        self._surface = prediction.surface
        self._segments = prediction.segments
        self._features = prediction.features
        self._seen: set[str | tuple[str, str | None]] = set()
        self._clicked: set[str] = set()
        self._purchased: set[str] = set()
        self._impressed: set[str] = set()
        self._relevant: set[str] = set()
        self._delays: list[int] = []
        self._duplicates = 0
        self._expired = 0

    def request(self, request: Request) -> None:
        """Takes from the request what the prediction does not say itself. To be called before `enter`, or
        between `leave` and `enter`.
        """
        self.requested = True
        self._user = request.user if self._user is None else self._user
        self._surface = request.surface if self._surface is None else self._surface
        self._segments = request.segments if self._segments is None else self._segments
        self._features = request.features if self._features is None else self._features

    def enter(self, binnings: Mapping[str, Binning]) -> None:
        """Adds all it has to the cells of its series. `binnings` are its version's reference bins by
        feature.
        """
        by_user = self.policy.unit == "user" and self._user is not None
        self._bucket = bucket_of(str(self._user) if by_user else self._request_id)
        window = self.window
        self._binnings = binnings
        self._cells = [window.cell(Series(self.version, self.arm, self.generation))]
        for segment in self.policy.segments:
            value = self._surface if segment == "surface" else (self._segments or {}).get(segment)
            if value is not None:
                self._cells.append(
                    window.cell(Series(self.version, self.arm, self.generation, segment, value))
                )
        self._apply(1)

    def leave(self) -> None:
        """Takes all it has out of its cells again."""
        self._apply(-1)

    def answer(self, feedback: Feedback, ts: int) -> None:
        """Takes feedback that is in time for its pane, in offset order, and adds what it changes. `ts` as
        corrected for skew.
        """
        served = self.arm != "shadow"
        if not -EARLY <= ts - self.ts <= self.policy.attribution.window:
            if served:
                self._expired += 1
                self._add("expired", 1)
            return
        item = None if feedback.item is None else str(feedback.item)
        key = feedback.event_id if feedback.event_id is not None else (feedback.kind, item)
        if key in self._seen:
            if served:
                self._duplicates += 1
                self._add("duplicates", 1)
            return
        self._seen.add(key)
        if item is None or not self.ok:
            return
        rank = self._items.index(item) if item in self._items else None
        if rank is not None and rank < self._shown:
            self._interact(feedback.kind, item, ts - self.ts)
        if feedback.kind in self.policy.relevant and item not in self._relevant:
            self._relevant.add(item)
            for name, value in self._ranked(rank):
                self._add(name, value)

    def _interact(self, kind: str, item: str, delay: int) -> None:
        if kind == CLICK and item not in self._clicked:
            self._clicked.add(item)
            self._delays.append(bin_of(max(delay, 0)))
            self._add("clicks", 1)
            self._add_delay(self._delays[-1], 1)
        elif kind == PURCHASE and item not in self._purchased:
            self._purchased.add(item)
            self._add("conversions", 1)
        elif kind == IMPRESSION and self.policy.impressions == "feedback" and item not in self._impressed:
            self._impressed.add(item)
            self._add("impressions", 1)

    def _ranked(self, rank: int | None) -> Iterator[tuple[str, int]]:
        """What one more relevant item at `rank` (from 0; None: not in the list) adds.

        A miss adds a 0, so that a pane's sums tell which `k` are asked for.
        """
        yield "relevant", 1
        for k in self.policy.k:
            yield f"hits@{k}", int(rank is not None and rank < k)

    def _add(self, name: str, value: float) -> None:
        first, *segments = self._cells
        first.add_bucketed(name, value, self._bucket)
        for cell in segments:
            cell.add(name, value)

    def _add_delay(self, bin_: int, count: int) -> None:
        for cell in self._cells:
            cell.click_delay[bin_] = cell.click_delay.get(bin_, 0) + count

    def _apply(self, sign: int) -> None:
        for name, value in self._sums():
            self._add(name, sign * value)
        for bin_ in self._delays:
            self._add_delay(bin_, sign)
        if self._timed:
            latency = bin_of(self._latency_ms)
            for cell in self._cells:
                cell.latency[latency] = cell.latency.get(latency, 0) + sign
        if self._binnings:
            self._distribute(sign)

    def _sums(self) -> Iterator[tuple[str, float]]:
        yield "predictions", 1
        if not self.ok:
            yield "errors", 1
        if self._latency_ms > self.policy.slow_ms:
            yield "slow", 1
        if self._timed:
            yield "timed", 1
            yield "latency_ms", self._latency_ms
        impressions = len(self._impressed) if self.policy.impressions == "feedback" else self._shown
        facts = (
            ("impressions", impressions),
            ("clicks", len(self._clicked)),
            ("conversions", len(self._purchased)),
            ("duplicates", self._duplicates),
            ("expired", self._expired),
        )
        yield from ((name, value) for name, value in facts if value)
        for item in self._relevant:
            yield from self._ranked(self._items.index(item) if item in self._items else None)

    def _distribute(self, sign: int) -> None:
        cell = self._cells[0]
        features = self._features or {}
        for name, binning in self._binnings.items():
            values = self._scores or () if name == SCORE else (features.get(name),)
            for value in values:
                bin_ = binning.bin_of(value)
                if bin_ is not None:
                    cell.add_feature(name, bin_, binning.bins, sign)
