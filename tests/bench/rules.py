"""What rules cost: a thousand models with twenty rules of all kinds and four versions each, on one judge.
From the bytes of `metrics.panes` through decoder and core, at the pace of the join: of each pane of ten
seconds four snapshots, and every second how far the source is.

Says the share of a core that a second of traffic takes, where it goes, and how much memory the judge holds
once panes become final as fast as they come.
"""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from schemas.policies import parse
from schemas.records import BUCKETS, ENCODER, SCORE, Codec, Distribution, Pane, PaneRecord, Profile, Progress
from schemas.timeline import Timeline
from streams.garbage import Garbage
from streams.judge.check import check
from streams.judge.core import Judge
from streams.metrics import histogram
from streams.metrics.profiles import Profiles
from streams.metrics.tallies import Floats

START = 1_800_000_000_000
PANE = 10_000
VERSIONS = (("v1", "stable"), ("v2", "candidate"), ("v3", "shadow"), ("v0", "stable"))
AGES = (2_000, 8_000, 40_000, 300_000)
"""How old (ms) a pane is when each of its snapshots comes, from its start; the last has all late clicks."""
REQUESTS = 50
"""Predictions of a version in a pane: together 20 requests a second and model."""
SHOWN = 10
FEATURES = 5
DEADLINE = 660_000

RULES: list[dict[str, object]] = [
    {"name": "errors", "metric": "error_rate", "above": 0.5},
    {"name": "slow", "metric": "slow_rate", "above": 0.5, "for": "30s"},
    {"name": "slow of five", "metric": "slow_rate", "above": 0.5, "for": {"of": 5, "at_least": 3}},
    {"name": "p99", "metric": "latency_p99_ms", "above": 5_000, "window": "5m"},
    {"name": "traffic", "metric": "throughput_rps", "outside": [0.1, 1_000], "clear": [1, 900]},
    {"name": "clicks", "metric": "ctr", "below": 0.001, "window": "10m"},
    {"name": "recall", "metric": "recall@5", "below": 0.001, "window": "10m"},
    {"name": "candidate errs", "metric": "error_rate", "above": 0.5, "where": {"arm": "candidate"}},
    {"name": "candidate slow", "metric": "slow_rate", "above": 0.5, "where": {"arm": "candidate"}},
    {"name": "v2 clicks", "metric": "ctr", "below": 0.001, "window": "10m", "where": {"version": "v2"}},
    {"name": "late", "metric": "late", "above": 1_000},
    {"name": "ctr lately", "metric": "ctr", "baseline": {"of": "moving"}, "window": "10m"},
    {"name": "ctr yesterday", "metric": "ctr", "baseline": {"of": "1d"}, "window": "10m"},
    {"name": "traffic last week", "metric": "predictions", "baseline": {"of": "7d"}, "window": "10m"},
    {"name": "ctr of stable", "metric": "ctr", "baseline": {"of": "stable"}, "window": "5m"},
    {"name": "burning", "metric": "error_rate",
     "burn_rate": {"objective": 0.9, "factor": 6, "windows": ["1h", "5m"]}},
    {"name": "smouldering", "metric": "error_rate",
     "burn_rate": {"objective": 0.9, "factor": 3, "windows": ["3d", "6h"]}},
    {"name": "silent", "metric": "predictions", "no_data": "5m"},
    {"name": "drift", "metric": "drift_psi", "above": 5, "window": "10m",
     "impact": {"metric": "ctr", "worse_by": 0.05}},
    {"name": "missing", "metric": "missing_rate", "above": 0.9, "where": {"feature": "f0"}},
]  # fmt: skip


class Snapshots:
    """Snapshots as bytes, made of a few templates."""

    def __init__(self, panes: int = 8) -> None:
        random = np.random.default_rng(0)
        self._templates = [
            [
                [ENCODER.encode(_snapshot(random, version, arm, (number + 1) / len(AGES), number + 1))
                 for number in range(len(AGES))]
                for version, arm in VERSIONS
            ]
            for _ in range(panes)
        ]  # fmt: skip

    def of(self, model: int, pane: int, version: int, number: int) -> bytes:
        """The snapshot `number` of a version's pane."""
        template = self._templates[(model + pane) % len(self._templates)][version][number]
        start = START + pane * PANE
        return (
            template.replace(b"MODEL", b"model-%04d" % model)
            .replace(b":1111111111111", b":%d" % start)
            .replace(b":2222222222222", b":%d" % (start + PANE))
            .replace(b":3333333333333", b":%d" % (start + PANE + DEADLINE))
        )

    @property
    def size(self) -> float:
        """Bytes of a snapshot, on average."""
        found = [len(each) for pane in self._templates for version in pane for each in version]
        return sum(found) / len(found)


def _snapshot(random: np.random.Generator, version: str, arm: str, share: float, number: int) -> Pane:
    shown = REQUESTS * SHOWN
    buckets = np.bincount(random.integers(0, BUCKETS, REQUESTS), minlength=BUCKETS)
    filled = np.flatnonzero(buckets).tolist()
    clicked = random.binomial(buckets[filled] * SHOWN, 0.05 * share).tolist()
    latency = histogram_of(random.lognormal(3.5, 0.4, REQUESTS))
    relevant = sum(clicked)
    return Pane(
        model="MODEL", version=version, arm=arm, segment="", segment_value="",
        start=1111111111111, end=2222222222222, deadline=3333333333333,
        generation=1, partition=0, part=0, snapshot=number,
        sums={
            "predictions": REQUESTS, "errors": int(random.binomial(REQUESTS, 0.01)), "timed": REQUESTS,
            "latency_ms": float(random.lognormal(3.5, 0.4, REQUESTS).sum()),
            "freshness_ms": 12.0 * REQUESTS, "slow": int(random.binomial(REQUESTS, 0.02)),
            "impressions": shown, "clicks": relevant, "conversions": relevant // 10,
            "relevant": relevant, "relevant_predictions": min(relevant, REQUESTS),
            "reciprocal_rank": relevant / 3, "hits@5": relevant // 2, "places@5": 5 * relevant,
            "hit_predictions@5": relevant // 2, "ndcg@5": relevant / 2.5, "average_precision@5": relevant / 3,
            "hits@10": relevant, "places@10": 10 * relevant, "hit_predictions@10": relevant,
            "ndcg@10": relevant / 2, "average_precision@10": relevant / 2,
        },
        latency=latency,
        click_delay=histogram_of(random.exponential(60_000, max(relevant, 1))),
        features={
            **{f"f{i}": random.multinomial(REQUESTS, [0.05] * 20).tolist() for i in range(FEATURES)},
            SCORE: random.multinomial(shown, [0.05] * 20).tolist(),
        },
        quality={f"f{i}": [REQUESTS, 1, 0, 0, 0] for i in range(FEATURES)},
        buckets=filled,
        bucket_sums={
            "predictions": buckets[filled].tolist(),
            "impressions": (buckets[filled] * SHOWN).tolist(),
            "clicks": clicked,
            "errors": [0] * len(filled),
            "slow": random.binomial(buckets[filled], 0.02).tolist(),
        },
    )  # fmt: skip


def histogram_of(values: Floats) -> dict[int, int]:
    """Counts by bin."""
    counts: dict[int, int] = {}
    for value in values.tolist():
        place = histogram.bin_of(value)
        counts[place] = counts.get(place, 0) + 1
    return counts


class Clock:
    """CPU seconds by what they went into."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)

    @contextmanager
    def of(self, what: str) -> Iterator[None]:
        """Counts what is done inside."""
        start = time.process_time()
        yield
        self.spent[what] += time.process_time() - start


class Traffic:
    """A judge, and what the join says to it second by second."""

    def __init__(self, models: int) -> None:
        self.models = models
        self.snapshots = Snapshots()
        self.clock = Clock()
        self.count = self.alerts = self.written = 0
        self._codec: Codec[PaneRecord] = Codec(PaneRecord)
        self._number = 0
        timeline, profiles = Timeline(), Profiles()
        bins = Distribution(
            counts=[50] * 20, edges=[i / 20 for i in range(1, 20)], lowest=0.0, highest=1.0, deviation=0.3
        )
        for model in range(models):
            policy = parse({"model": _name(model), "rules": RULES})
            check(policy)
            timeline.add(policy, START)
            for version, _ in VERSIONS:
                profiles.add(
                    Profile(
                        model=_name(model), version=version, ts=START, score=bins,
                        features={f"f{i}": bins for i in range(FEATURES)},
                    )
                )  # fmt: skip
        self.judge = Judge(0, timeline, profiles=profiles)

    def second(self, second: int) -> None:
        """What comes in one second of event time; models take turns within a pane's ten."""
        now = START + second * 1_000
        with self.clock.of("producing"):
            records = list(self._due(second))
        with self.clock.of("decoding"):
            panes = [self._codec.decode(record) for record in records]
        with self.clock.of("taking in"):
            for pane in panes:
                self.judge.pane(pane, now)
        self.count += len(panes)
        self._number += 1
        with self.clock.of("rules"):
            progress = Progress(partition=0, partitions=1, time=now, clock=now, snapshot=self._number)
            self.alerts += len(self.judge.pane(progress, now))
        with self.clock.of("remembering"):
            self.judge.detections()
            self.written += sum(1 for _ in self.judge.histories())
            list(self.judge.firings())
        with self.clock.of("deciding"):
            self.judge.decide(now, {})
        with self.clock.of("forgetting"):
            self.judge.needed()
            self.judge.forget(now)

    def _due(self, second: int) -> Iterator[bytes]:
        for number, age in enumerate(AGES):
            # A snapshot of a pane comes at its age, and each model has its second within ten of them.
            first = second * 1_000 - age
            for model in range(self.models):
                at = first - 100 * (model % 100)
                if at >= 0 and at % PANE < 1_000:
                    for version in range(len(VERSIONS)):
                        yield self.snapshots.of(model, at // PANE, version, number)


def _name(model: int) -> str:
    return f"model-{model:04d}"


def resident() -> float:
    """Bytes of memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096.0


def measure(models: int = 1_000, seconds: int = 60) -> str:
    """Lets panes fill up, then measures `seconds`."""
    before, garbage = resident(), Garbage()
    traffic = Traffic(models)
    filled = (DEADLINE + 2 * PANE) // 1_000
    for second in range(filled):
        traffic.second(second)
        garbage.collect(float(second))
    held = resident() - before
    traffic.clock.spent.clear()
    traffic.count = 0
    for second in range(filled, filled + seconds):
        traffic.second(second)
        with traffic.clock.of("collecting"):
            garbage.collect(float(second))
    spent = {what: each / seconds for what, each in traffic.clock.spent.items() if what != "producing"}
    lines = [
        f"{models:,} models, {len(RULES)} rules and {len(VERSIONS)} versions each; "
        f"{traffic.count / seconds:,.0f} snapshots a second of {traffic.snapshots.size:,.0f} bytes",
        f"{sum(spent.values()):.1%} of a core: "
        + ", ".join(f"{what} {share:.1%}" for what, share in spent.items()),
        f"{held / 2**20:,.0f} MiB held; {traffic.alerts:,} alerts",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(measure(100))
