"""The evidence about the release that runs, and what it is looked at with: which generations were when on all
workers, until when panes are mature, and what of them can change no more.

Pure. What the evidence proves is `evidence.py`'s, what follows from that `conduct.py`'s.
"""

import logging
import math
from itertools import pairwise

import msgspec

from schemas.policies import ReleasePolicy
from schemas.timeline import Timeline
from streams.judge.facts.panes import Clocks
from streams.judge.facts.workers import LIVE, Workers
from streams.judge.releases.checkpoint import Folded, Settled
from streams.judge.releases.evidence import NOTHING, Evidence, Results
from streams.judge.releases.release import Span, Standing
from streams.judge.rules.watch import Watch

log = logging.getLogger(__name__)

LARGEST = 4_000_000
"""So many characters of sums a checkpoint takes at most; a record may have twice as many bytes."""
GRACE = LIVE
"""So long (ms) after the deadline for acks no word of before it is waited for any more."""


class Case:
    """One model's. `watch` holds its panes, `workers` its serving workers, `clocks` how far the sources of
    panes are.
    """

    def __init__(
        self, model: str, watch: Watch, workers: Workers, timeline: Timeline, clocks: Clocks
    ) -> None:
        self._model = model
        self._watch = watch
        self._workers = workers
        self._timeline = timeline
        self._clocks = clocks
        self._standing: Standing | None = None
        self._evidence: Evidence | None = None
        self._recalled: Folded | None = None
        self._doubted = NOTHING
        self._secured = NOTHING
        self._settled: Settled | None = None
        self._results: tuple[ReleasePolicy, int | None, Results] | None = None

    def stand(self, standing: Standing) -> None:
        """Another record stands."""
        old, self._standing = self._standing, standing
        self._results = None
        if self._settled is not None and self._settled.generation != standing.release.generation:
            self._settled = None
        state = standing.state
        if state.judged is None or state.reference is None:
            self._evidence = None
        elif old is None or old.state.started != state.started or self._evidence is None:
            self._evidence = self._begun(state.started, state.judged, state.reference)
            for window in self._watch.panes.all():
                window.folded = False

    def recall(self, folded: Folded | None, settled: Settled | None) -> None:
        """What a predecessor knew; before anything else."""
        self._recalled, self._settled = folded, settled

    def doubt(self, before: int) -> None:
        """Panes that start before this event time (ms) are not known whole: the evidence is without them."""
        self._doubted = max(self._doubted, before)
        if self._evidence is not None:
            self._evidence.skip(before)
            self._results = None

    def stir(self) -> None:
        """More is known of panes, or of clocks."""
        self._results = None

    def keep(self) -> Folded | None:
        """What is folded of the running release; None where none runs, or where it is too much for a record:
        then its panes are read again.
        """
        if self._standing is None or self._evidence is None:
            return None
        folded = self._evidence.keep(self._standing.state.started)
        return folded if len(folded.arrays) < LARGEST else None

    def secure(self, folded: Folded | None) -> None:
        """It has been written: a successor needs no panes for it."""
        if folded is not None and folded == self.keep():
            self._secured = folded.through

    @property
    def oldest(self) -> int | None:
        """The event time (ms) from which on a successor needs panes; None where nothing runs."""
        if self._standing is None or self._evidence is None:
            return None
        return max(self._standing.state.started, self._secured)

    @property
    def unfolded(self) -> float:
        """The start of the oldest window that is not folded; infinite where there is none."""
        if self._evidence is None:
            return math.inf
        return min(
            (window.start for window in self._watch.panes.all() if not window.folded), default=math.inf
        )

    @property
    def patience(self) -> int:
        """How long workers have to acknowledge, in ms, by the policy in force when the generation came."""
        if self._standing is None:
            return 0
        policy = self._timeline.at(self._model, self._standing.release.ts).release or ReleasePolicy()
        return int(policy.ack_deadline)

    @property
    def settled(self) -> Settled | None:
        """The generation in force and when all workers had it, once that is known for good."""
        return self._settled

    def settle(self, time: int) -> None:
        """Before a worker's word of that time (ms) is taken: where that is long past the deadline, when the
        generation was on all workers is known for good. Who comes later under the same name, or is forgotten,
        changes it no more.
        """
        if self._standing is None or self._settled is not None:
            return
        record = self._standing.release
        if time > record.ts + self.patience + GRACE:
            at = self._workers.settled(record.generation, record.ts, self.patience, time)
            self._settled = None if at is None else Settled(record.generation, at)

    def settled_at(self, now: int) -> int | None:
        """When the generation was on all workers (ms), as far as that can be told at `now`."""
        if self._standing is None:
            return None
        self.settle(now)
        if self._settled is not None:
            return self._settled.at
        record = self._standing.release
        return self._workers.settled(record.generation, record.ts, self.patience, now)

    def fold(self, now: int, horizon: int | None) -> None:
        """Takes in for good what can change no more, also where nothing is to be decided yet."""
        if self._standing is not None and self._evidence is not None:
            spans, mature, until = self._given(self._standing, now, horizon)
            self._evidence.fold(self._watch.panes.all(), spans, mature, until)

    def test(self, policy: ReleasePolicy, now: int, horizon: int | None) -> Results | None:
        """What all tests of `policy` say; None where nothing runs."""
        if self._standing is None or self._evidence is None:
            return None
        settled = self.settled_at(now)
        if self._results is not None and self._results[0] is policy and self._results[1] == settled:
            return self._results[2]
        spans, mature, until = self._given(self._standing, now, horizon)
        results = self._evidence.look(policy, self._watch.panes.all(), spans, mature, until)
        self._results = (policy, settled, results)
        return results

    def _begun(self, started: int, judged: str, reference: str) -> Evidence:
        """The evidence about a release so far: a predecessor's, where it is about the same."""
        folded, self._recalled = self._recalled, None
        evidence = Evidence(judged, reference)
        if folded is not None and (folded.started, folded.judged) == (started, judged):
            try:
                evidence = Evidence.recall(folded)
            except ValueError as error:
                log.error("%s: the sums in control.evidence: %s", self._model, error)
        self._secured = evidence.through
        evidence.skip(self._doubted)
        return evidence

    def _given(self, standing: Standing, now: int, horizon: int | None) -> tuple[list[Span], float, float]:
        """What evidence is looked at with: the generations, until when (ms) panes are mature, and until when
        they may be folded.
        """
        *before, last = standing.state.spans
        spans = [*before, msgspec.structs.replace(last, settled=self.settled_at(now))]
        mature = -math.inf if horizon is None else horizon - standing.state.maturity
        changes = pairwise(self._timeline.entries(self._model))
        open_ = (
            after.start
            for old, after in changes
            if self._clocks.time is None
            or old.policy.deadline(old.policy.pane_start(after.start - 1)) >= self._clocks.time
        )  # a longer wait before a change of policy: older panes may become final after newer ones
        until = min(open_, default=math.inf)
        return spans, mature, until if self._settled is not None else min(until, last.ts)
