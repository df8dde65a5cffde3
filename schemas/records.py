"""Every record of the contract's section 2, as types: decoder, validator and JSON Schema all come from here.

A record is one JSON object. Unknown fields are ignored, null in an optional field is as if it were absent.
What a type cannot say (lists of one length, a time against Kafka's) is `problem`'s; what a record means is
the stages' business.
"""

from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec
from msgspec import Meta, Raw

from schemas import topics
from schemas.reasons import reason
from schemas.topics import Topic

ORIGIN = "headgate-origin"
"""Header of a record that was re-published to its right partition: topic/partition/offset of the first."""

SCORE = "score"
"""Under this name the distribution of scores stands beside those of the features."""

YEAR_2000 = 946_684_800_000
YEAR_2300 = 10_413_792_000_000
LARGEST = (1 << 63) - 1
DAY = 86_400_000
LONGEST_SILENCE = 30 * DAY

Time = Annotated[
    int, Meta(ge=YEAR_2000, lt=YEAR_2300, description="Epoch milliseconds, UTC; not before the year 2000.")
]
Count = Annotated[int, Meta(ge=0, le=LARGEST)]
Integer = Annotated[int, Meta(ge=-LARGEST, le=LARGEST)]
Milliseconds = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Name = Annotated[str, Meta(min_length=1)]
Item = str | int
Feature = float | str | bool | None

Status = Literal["ok", "error", "timeout", "shed"]
Arm = Literal["stable", "candidate", "shadow"]
Phase = Literal["stable", "canary", "paused", "watching", "rolled_back"]
Command = Literal["start", "promote", "rollback", "pause", "resume", "abort"]
Mode = Literal["canary", "shadow"]


class Record(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What all records have in common: where they are encoded, defaults are left out."""


class Request(Record):
    """`inference.requests`: candidates to be ranked for one user, once."""

    request_id: Name
    ts: Time
    model: Name
    items: list[Item] | None = None
    inputs: dict[str, Raw] | None = None
    features: dict[str, Feature] | None = None
    user: str | int | None = None
    surface: str | None = None
    segments: dict[str, str] | None = None
    k: Count | None = None
    deadline_ms: Milliseconds | None = None


class Prediction(Record):
    """`inference.predictions`: the answer to a request, best item first."""

    request_id: Name
    ts: Time
    model: Name
    version: Name
    arm: Arm
    status: Status
    latency_ms: Milliseconds
    generation: Count | None = None
    items: list[Item] | None = None
    scores: list[float] | None = None
    shown: Count | None = None
    propensities: list[float] | None = None
    infer_ms: Milliseconds | None = None
    queue_ms: Milliseconds | None = None
    batch: Count | None = None
    worker: str | None = None
    user: str | int | None = None
    surface: str | None = None
    segments: dict[str, str] | None = None
    features: dict[str, Feature] | None = None
    error: str | None = None


class Feedback(Record):
    """`feedback.events`: what a user did with a shown item, or a label."""

    request_id: Name
    ts: Time
    kind: Name
    item: Item | None = None
    value: float | None = None
    event_id: str | None = None


class Sample(Record):
    """`metrics.samples`: one value of a metric of somebody else's."""

    model: Name
    ts: Time
    name: Name
    value: float
    version: str | None = None
    phase: Literal["training", "serving"] | None = None
    labels: dict[str, str] | None = None


class PolicyRecord(Record):
    """`control.policies`: a policy (section 6) as an object; `policies.py` reads it."""

    model: Name
    ts: Time
    policy: Raw
    actor: str


class CommandRecord(Record):
    """`control.commands`: what an operator asks of a release. `generation`: it is meant for the release
    record with this number, and to be refused if another one stands.
    """

    model: Name
    ts: Time
    command: Command
    command_id: Name
    actor: str
    version: str | None = None
    mode: Mode | None = None
    reason: str | None = None
    generation: Count | None = None


class Release(Record, omit_defaults=False):
    """`control.releases`: the desired state of a model's serving, one generation after another.

    Every field is written out, so that readers in other languages need no defaults.
    """

    model: Name
    generation: Count
    ts: Time
    stable: Name
    decision_id: str
    reason: str
    candidate: str | None = None
    shadow: str | None = None
    weight: Share = 0.0
    phase: Phase = "stable"
    salt: str = ""
    evidence: dict[str, Any] | None = None


class Ack(Record):
    """`control.acks`: a worker's word on a generation, or that it is alive. `available`: the versions that it
    could load, as far as it knows.
    """

    model: Name
    worker: Name
    ts: Time
    kind: Literal["ack", "heartbeat"]
    generation: Count
    status: Literal["applied", "loading", "failed"] | None = None
    loaded: list[str] | None = None
    error: str | None = None
    available: list[str] | None = None


class Alert(Record, omit_defaults=False):
    """`alerts`: one firing or resolution of a rule; maps one-to-one onto an Alertmanager v2 alert.

    Every field is written out, so that readers in other languages need no defaults.
    """

    alert_id: Name
    model: str
    rule: str
    status: Literal["firing", "resolved"]
    severity: str
    starts_at: Time
    ends_at: Time | None = None
    value: float | None = None
    threshold: float | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Silence(Record):
    """`control.silences` (key: model/silence_id): alerts that are recorded, but not sent, from `ts` to
    `ends_at`.

    Those of `model` (empty: those that are about none), of `rule` where it is given, that have all `labels`
    (`severity` counts as one). The last record of an id holds; one that somebody has ended early says who, in
    `ended_by`.
    """

    model: str
    silence_id: Name
    ts: Time
    ends_at: Time
    actor: Name
    reason: Name
    rule: str | None = None
    labels: dict[str, str] | None = None
    ended_by: str | None = None


class DeadLetter(Record):
    """`dead.letters`: a record that could not be processed, and why."""

    ts: Time
    topic: str
    partition: Count
    offset: Count
    stage: str
    reason: str
    key: str | None = None
    value: str | None = None


class Profile(Record):
    """`control.profiles` (key: model/version): how features and scores were distributed in training.

    The first record of a version holds from the beginning; a version is immutable, so later ones are ignored.
    """

    model: Name
    version: Name
    ts: Time
    features: dict[str, "Distribution"]
    score: "Distribution | None" = None

    def distributions(self) -> dict[str, "Distribution"]:
        """By feature, and the scores' as `SCORE`."""
        return self.features | ({} if self.score is None else {SCORE: self.score})


class Distribution(Record):
    """One feature's reference: `counts` of `edges` (numbers: len(edges) + 1 bins, half-open, `bisect_right`)
    or of `categories` (len(categories) + 1 bins, the last for any other word).

    Bins are chosen by whoever makes the profile, by quantiles as a rule. Of numbers, `lowest` and `highest`
    are the extremes and `deviation` the standard deviation, in the feature's unit.
    """

    counts: list[Count]
    edges: list[float] | None = None
    categories: list[str] | None = None
    lowest: float | None = None
    highest: float | None = None
    deviation: Annotated[float, Meta(ge=0)] | None = None


QUALITY = ("values", "missing", "out_of_range", "type_errors", "unseen")
"""What is counted of each feature: predictions, and those whose value is absent or null, beyond the
reference's lowest or highest, of another type than the reference's, or a category that the reference does not
know.
"""


Histogram = dict[Annotated[int, Meta(ge=-(1 << 31), lt=1 << 31)], Count]
"""Counts by bin number (in JSON a string, as keys are): the bins of `streams.metrics.histogram`."""


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


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one test said of a release at one look.

    `effect` and its bounds are fractions of the reference's value, or the metric's own values where nothing
    is compared; `limit` is in the same unit: bounds both beyond it, on the side that `fails` or `passes`
    (`above`, `below`), are proof. `statistic` and `boundary` say the same in standard errors. `values` and
    `samples`: of the judged version, then of the reference.
    """

    test: str
    state: str = ""
    effect: float | None = None
    lower: float | None = None
    upper: float | None = None
    limit: float | None = None
    fails: str = ""
    passes: str = ""
    statistic: float | None = None
    boundary: float | None = None
    values: dict[str, float | None] = {}
    samples: dict[str, float] = {}
    needed: int | None = None
    alpha: float | None = None

    @property
    def metric(self) -> str:
        """What is tested."""
        return self.test.partition(" ")[0]

    def of(self, place: int) -> tuple[str, float | None, float | None]:
        """Version, value and samples of the judged version (0) or the reference (1)."""
        versions = [*self.samples]
        if place >= len(versions):
            return "", None, None
        return versions[place], self.values.get(versions[place]), self.samples[versions[place]]


class Findings(msgspec.Struct, frozen=True, omit_defaults=True):
    """What all tests said at one look. `through`: event time (ms) that all sources had reached."""

    findings: list[Finding] = []
    through: int | None = None


class Outlook(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a running release stood at `at` (ms): in the terms of Argo Rollouts, with the cause, in words."""

    at: Time
    outcome: str = ""
    cause: str = ""
    verdict: str = ""
    context: Findings = Findings()


class Turn(msgspec.Struct, frozen=True, omit_defaults=True):
    """One decision of the past."""

    generation: Count


class Evidence(Record):
    """`control.evidence`, as far as people are shown it: how a running release stands, every few seconds. The
    rest is the judge's own (`streams.judge.releases.checkpoint`). The last of `history` is the generation in
    force; `outlook` is absent where no release runs.
    """

    model: Name
    ts: Time
    history: list[Turn] = []
    outlook: Outlook | None = None


Decoded = TypeVar("Decoded")


class Codec(Generic[Decoded]):
    """Decodes one topic's values: plain JSON, or JSON behind Confluent framing.

    The framing is a zero byte and a schema id of four bytes.
    """

    def __init__(self, type_: Any) -> None:
        self._type = type_
        self._decoder: msgspec.json.Decoder[Decoded] = msgspec.json.Decoder(type_)

    def decode(self, value: bytes | None) -> Decoded:
        """Raises `msgspec.DecodeError` (a `ValueError`): which field, what was found, what was expected."""
        if not value:
            raise msgspec.DecodeError(
                f"value: found {'null' if value is None else 'nothing'}, expected a JSON object"
            )
        if value[0] == 0 and len(value) > 5:
            value = value[5:]
        try:
            return self._decode(value)
        except msgspec.DecodeError as error:
            raise msgspec.DecodeError(reason(error, value, self._type)) from error
        except UnicodeDecodeError as error:
            raise msgspec.DecodeError(
                f"value: found bytes that are not UTF-8 ({error}), expected a JSON object"
            ) from error
        except RecursionError as error:
            raise msgspec.DecodeError(
                "value: found JSON that is nested too deeply, expected a JSON object"
            ) from error

    def _decode(self, value: bytes) -> Decoded:
        try:
            return self._decoder.decode(value)
        except msgspec.ValidationError:
            plain = _without_nulls(value)
            if plain is None:
                raise
            return self._decoder.decode(plain)


def _without_nulls(value: bytes) -> bytes | None:
    """The object without its null fields, for types with other defaults than null; None if it has none."""
    try:
        fields = msgspec.json.decode(value, type=dict[str, Raw])
    except msgspec.ValidationError:
        return None
    kept = {name: raw for name, raw in fields.items() if bytes(raw) != b"null"}
    return ENCODER.encode(kept) if len(kept) < len(fields) else None


ENCODER = msgspec.json.Encoder()

TYPES: dict[Topic, Any] = {
    topics.REQUESTS: Request,
    topics.PREDICTIONS: Prediction,
    topics.FEEDBACK: Feedback,
    topics.SAMPLES: Sample,
    topics.PANES: PaneRecord,
    topics.DRIFT: Detection,
    topics.ALERTS: Alert,
    topics.POLICIES: PolicyRecord,
    topics.PROFILES: Profile,
    topics.COMMANDS: CommandRecord,
    topics.RELEASES: Release,
    topics.ACKS: Ack,
    topics.EVIDENCE: Evidence,
    topics.SILENCES: Silence,
    topics.DEAD_LETTERS: DeadLetter,
}


Timed = (
    Request
    | Prediction
    | Feedback
    | Sample
    | PolicyRecord
    | CommandRecord
    | Release
    | Ack
    | Profile
    | Silence
    | DeadLetter
)
"""The records that have a `ts`."""


def problem(record: Timed, timestamp: int) -> str | None:
    """What is wrong with a decoded record beyond its types, or None. `timestamp` is Kafka's, in ms."""
    if record.ts > timestamp + DAY:
        return f"ts: found {record.ts}, expected at most a day after the Kafka timestamp {timestamp}"
    if isinstance(record, Silence):
        return _span(record)
    return _lengths(record) if isinstance(record, Prediction) else None


def _span(record: Silence) -> str | None:
    if record.ends_at <= record.ts:
        return f"ends_at: found {record.ends_at}, expected later than ts {record.ts}"
    if record.ends_at > record.ts + LONGEST_SILENCE:
        days = (record.ends_at - record.ts) / DAY
        return f"ends_at: found {days:.1f} days after ts, expected at most {LONGEST_SILENCE // DAY}"
    return None


def _lengths(record: Prediction) -> str | None:
    scores, propensities = record.scores, record.propensities
    of, reference = ("scores", scores) if record.items is None else ("items", record.items)
    if reference is None:
        return None
    if scores is not None and len(scores) != len(reference):
        return f"scores: found {len(scores)} values, expected one for each of {len(reference)} {of}"
    if propensities is not None and len(propensities) != len(reference):
        return (
            f"propensities: found {len(propensities)} values, expected one for each of {len(reference)} {of}"
        )
    return None
