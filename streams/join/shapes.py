"""Policies as compiled code sees them: what shapes panes, and until when records count. `Shapes` lays a
`Timeline` out in arrays; the functions ask them as `Timeline` would answer.

Times are epoch ms, and deadlines ms after which nothing counts.
"""

from typing import Any

import numpy as np

from schemas import policies
from schemas.policies import EARLY, Baseline, Policy
from schemas.timeline import BEGINNING, Timeline
from streams.compiled import inner
from streams.join import hashmap
from streams.join.hashmap import NONE
from streams.join.layout import HIGH, LONGEST, LOW, MODEL, SHAPE, State
from streams.join.sums import slots_of
from streams.join.text import hash_of

NOBODY = 0
"""The model of records whose model is not known, and the shape that has the defaults."""


class Shapes:
    """All policies of a timeline, entry by entry in the order in which they became known; and the names of
    models.
    """

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self.policies: list[Policy] = []
        self.models: list[str] = []
        self._rows: list[tuple[Any, ...]] = []
        self._latest: list[int] = []
        self._taken: dict[str, int] = {}  # how many entries of a model are laid out
        self._hashes: dict[int, int] = {}
        self._add(policies.default(""), BEGINNING, NONE)
        self.model(hash_of(""), "")
        self.refresh()

    def knows(self, hashed: int) -> bool:
        """Whether a model, by the hash of its name, has a row."""
        return hashed in self._hashes

    def has_policy(self, hashed: int) -> bool:
        """Whether the model, by the hash of its name, has a policy of its own."""
        return hashed in self._hashes and self._timeline.knows(self.models[self._hashes[hashed]])

    def model(self, hashed: int, name: str) -> None:
        """Gives a model a row. `refresh` is due afterwards."""
        if hashed not in self._hashes:
            self._hashes[hashed] = len(self.models)
            self.models.append(name)
            self._latest.append(0)

    def row_of(self, name: str) -> int:
        """A model's row; `NONE` where it has none."""
        return self._hashes.get(hash_of(name), NONE)

    def _add(self, policy: Policy, start: int, earlier: int) -> None:
        self.policies.append(policy)
        self._rows.append(
            (
                *(start, policy.pane, policy.attribution.window, policy.attribution.lateness, policy.answer),
                *(policy.slow_ms, policy.threshold, policy.anomaly, earlier),
                *(len(policy.k), len(policy.relevant), len(policy.segments)),
                *(policy.unit == "user", policy.truth == "label", policy.impressions == "feedback"),
            )
        )

    def refresh(self) -> dict[str, Any]:
        """The arrays, with what the timeline has that they had not."""
        for name in self._timeline.models():
            self.model(hash_of(name), name)
            row = self._hashes[hash_of(name)]
            entries = self._timeline.entries(name)
            taken = self._taken.get(name, 0)
            for start, policy in entries[taken:]:
                self._add(policy, start, self._latest[row] if taken else NONE)
                self._latest[row] = len(self.policies) - 1
                taken += 1
            self._taken[name] = taken
        known = [int(name in self._taken) for name in self.models]
        known[NOBODY] = int(not any(known))  # the defaults count where no model has a policy at all
        by_model = hashmap.empty(2 * len(self.models))
        for hashed, row in self._hashes.items():
            hashmap.put(by_model, np.uint64(hashed), row)
        return {
            "shapes": np.array(self._rows, SHAPE),
            "models": np.array(list(zip(self._hashes, self._latest, known, strict=True)), MODEL),
            "by_model": by_model,
            "cutoffs": _ragged([policy.k for policy in self.policies], np.int64),
            "relevant": _ragged([list(map(hash_of, p.relevant)) for p in self.policies], np.uint64),
            "segments": _ragged([list(map(hash_of, p.segments)) for p in self.policies], np.uint64),
            "bucketed": self._bucketed(),
        }

    @property
    def cutoffs(self) -> int:
        """The most that a policy has."""
        return max(len(policy.k) for policy in self.policies)

    @property
    def most_segments(self) -> int:
        """The most that a policy has."""
        return max(len(policy.segments) for policy in self.policies)

    def _bucketed(self) -> Any:
        """For each shape the slots of the sums that have buckets, in the order of these; `NONE` after the
        last.
        """
        rows = [slots_of(_metrics(policy), policy.k) for policy in self.policies]
        most = max(map(len, rows))
        return np.array([slots + [NONE] * (most - len(slots)) for slots in rows], np.int64)


def _metrics(policy: Policy) -> list[str]:
    """What releases are decided by, and what rules hold against stable."""
    watched = [rule.metric for rule in policy.rules if _of_stable(rule.baseline)]
    impacts = [rule.impact for rule in policy.rules if rule.impact is not None]
    watched += [impact.metric for impact in impacts if _of_stable(impact.baseline)]
    release = policy.release
    if release is None:
        return watched
    success = [] if release.success is None else [release.success.metric]
    return [each.metric for each in release.guardrails] + success + watched


def _of_stable(baseline: Baseline | None) -> bool:
    return baseline is not None and baseline.of == "stable"


def _ragged(lists: Any, dtype: Any) -> Any:
    """Lists of several lengths as rows of one array, filled up with zeros."""
    rows = np.zeros((len(lists), max([1, *map(len, lists)])), dtype)
    for row, values in zip(rows, lists, strict=True):
        row[: len(values)] = values
    return rows


@inner
def at(state: State, model: int, time: int) -> int:
    """The shape in force for a model."""
    entry = state.models[model].latest
    while state.shapes[entry].start > time and state.shapes[entry].earlier >= 0:
        entry = state.shapes[entry].earlier
    return int(entry)


@inner
def pane_start(state: State, entry: int, time: int) -> int:
    """The start of the pane that holds `time`."""
    return int(time - time % state.shapes[entry].pane)


@inner
def deadline(state: State, entry: int, start: int) -> int:
    """The deadline of the pane that starts at `start`."""
    shape = state.shapes[entry]
    return int(start + shape.pane + shape.window + shape.lateness)


@inner
def deadline_at(state: State, model: int, time: int) -> int:
    """The deadline of a model's pane that holds `time`."""
    entry = at(state, model, time)
    return deadline(state, entry, pane_start(state, entry, time))


@inner
def longest_deadline(state: State, time: int) -> int:
    """The latest deadline over all models of the pane that holds `time`; of the defaults where no model has a
    policy. Remembered for as long as no model's pane ends.
    """
    heads = state.heads
    if heads[LOW] <= time < heads[HIGH]:
        return int(heads[LONGEST])
    low, high, longest = BEGINNING, -BEGINNING, BEGINNING
    for model in range(len(state.models)):
        if not state.models[model].known:
            continue
        entry = at(state, model, time)
        start = pane_start(state, entry, time)
        low = max(low, start)
        high = min(high, start + state.shapes[entry].pane)
        longest = max(longest, deadline(state, entry, start))
    heads[LOW], heads[HIGH], heads[LONGEST] = low, high, longest
    return int(longest)


@inner
def longest_deadline_between(state: State, first: int, last: int) -> int:
    """The latest of `longest_deadline` over all times from `first` to `last`: later times have earlier ones
    where a policy comes into force that waits less long.
    """
    longest = longest_deadline(state, last)
    for entry in range(len(state.shapes)):
        start = state.shapes[entry].start
        if first < start <= last:
            longest = max(longest, longest_deadline(state, start - 1))
    return longest


@inner
def loss_deadline(state: State, time: int) -> int:
    """The deadline of the pane of `time` for records whose model is not known: until then feedback of the
    pane may turn out unmatched.
    """
    start = pane_start(state, NOBODY, time)
    return longest_deadline_between(state, start + EARLY, start + state.shapes[NOBODY].pane - 1 + EARLY)
