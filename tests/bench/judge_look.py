"""What one look at a release costs: `python -m tests.bench.judge_look` prints ms a look by how many panes
are not folded yet.
"""

import time

import numpy as np

from schemas.policies import Guardrail, ReleasePolicy, Step, Success
from schemas.records import BUCKETS, Pane
from streams.judge.facts.panes import Panes
from streams.judge.releases.evidence import Evidence
from streams.judge.releases.release import Span
from tests.judging import take

START = 1_800_000_000_000
PANE = 10_000
SOURCES = 4
NAMES = ("predictions", "impressions", "clicks", "errors", "slow")
POLICY = ReleasePolicy(
    steps=(Step(weight=0.5),),
    guardrails=(
        Guardrail(metric="ctr", worse_by=0.0),
        Guardrail(metric="error_rate", above=0.05),
        Guardrail(metric="slow_rate", worse_by=0.1),
    ),
    success=Success(metric="ctr", better_by=-0.02),
)


def fill(panes: Panes, number: int) -> None:
    """`number` panes of two arms from `SOURCES` source partitions, all buckets filled."""
    random = np.random.default_rng(0)
    for index in range(number):
        for source in range(SOURCES):
            for version, arm in (("v1", "stable"), ("v2", "candidate")):
                sums = {name: random.poisson(3, BUCKETS).astype(float) for name in NAMES}
                start = START + index * PANE
                take(panes,
                    Pane(
                        model="ranker", version=version, arm=arm, segment="", segment_value="",
                        start=start, end=start + PANE, generation=2, partition=source, part=0, snapshot=1,
                        deadline=start + PANE + 660_000,
                        sums={name: float(values.sum()) for name, values in sums.items()},
                        buckets=list(range(BUCKETS)),
                        bucket_sums={name: values.tolist() for name, values in sums.items()},
                    )
                )  # fmt: skip


def main() -> None:
    """Measures looks with no pane folded, which is the worst that can be."""
    spans = [Span(generation=2, ts=START, stable="v1", candidate="v2", settled=START)]
    for number in (100, 1_000):
        panes = Panes()
        fill(panes, number)
        evidence = Evidence("v2", "v1")
        evidence.look(POLICY, panes.all(), spans, START + number * PANE)
        start = time.perf_counter()
        for _ in range(10):
            evidence.look(POLICY, panes.all(), spans, START + number * PANE)
        print(f"{number} panes: {(time.perf_counter() - start) * 100:.1f} ms a look", flush=True)


if __name__ == "__main__":
    main()
