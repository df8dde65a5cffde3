"""What the stages tell each other, and may change with any version: `metrics.panes` and `metrics.drift`."""

from typing import Annotated

from msgspec import Meta

from schemas.records.fields import Count, Integer, Name, Record

Histogram = dict[Annotated[int, Meta(ge=-(1 << 31), le=35_000)], Count]
"""Counts by bin number (in JSON a string, as keys are): the bins of `streams.metrics.histogram`. Those beyond
stand for no floating-point number.
"""

BUCKETS = 128
"""Into how many buckets the join hashes users; the judge's variance is between them."""


class Pane(Record, tag_field="kind", tag="pane"):
    """`metrics.panes`: one series' tallies of one pane from one source partition, a full snapshot, no delta.

    The key of a snapshot is all fields from `model` to `part`; of one key the highest `snapshot` holds.
    Snapshots of different source partitions and parts of one pane add up: `sums`, histogram bins,
    `reliability`, `features`' and `quality`'s counts and `buckets`.

    Classification (`positive_scores`, `negative_scores`: pairs by `streams.metrics.scores.bin_of`;
    `reliability`: by `streams.metrics.scores.tenth_of` the pairs, the sum of their scores and the positives
    among them; and the sums that `streams.metrics.catalogue` calls final) is in final snapshots only.

    `quality`: of each feature of the reference profile `QUALITY` counts.

    `part` is 0, but for counts of records that came when the pane of their Kafka timestamp was past: they
    stand in the pane all the same, in a part of their own, which is the start of the pane in which they came.
    A `retracted` snapshot says that its key is void: a policy came that shapes panes differently.
    """

    model: str
    version: str
    arm: str
    segment: str
    segment_value: str
    start: Integer
    end: Integer
    generation: Integer
    partition: Count
    part: Integer
    snapshot: Count
    deadline: Integer
    retracted: bool = False
    sums: dict[str, float] = {}
    latency: Histogram = {}
    click_delay: Histogram = {}
    positive_scores: Histogram = {}
    negative_scores: Histogram = {}
    reliability: dict[Annotated[int, Meta(ge=-(1 << 31), lt=1 << 31)], list[float]] = {}
    features: dict[str, list[Count]] = {}
    quality: dict[str, list[Count]] = {}
    buckets: list[Count] = []
    bucket_sums: dict[str, list[float]] = {}


class Progress(Record, tag_field="kind", tag="progress"):
    """`metrics.panes`: how far a source partition is. In every partition of the topic, about once a second.

    All panes with a deadline before `time` (exclusive) are final as far as `partition` is concerned, and
    their snapshots stand before this record. `clock` is the highest event time read. `partitions` is the
    count of source partitions: a pane is final when all say so.
    """

    partition: Count
    partitions: Count
    time: Integer
    clock: Integer
    snapshot: Count


PaneRecord = Pane | Progress


class Detection(Record):
    """`metrics.drift`: what the judge's change detectors saw in one final pane of one version and arm.

    `values`: by metric, numerator and denominator. `changed`: by metric, the detectors that noticed a change
    in this pane. Each pane stands here once, in the order of their time, so that detectors can be rebuilt
    from it.
    """

    model: Name
    version: Name
    arm: str
    start: Integer
    end: Integer
    values: dict[str, tuple[float, float]] = {}
    changed: dict[str, list[str]] = {}
