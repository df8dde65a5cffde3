"""Whatever stands in a policy, a command or a release, whoever wrote it: stages can reckon with it, or it is
a mistake that people are told of. The topics are kept: anything else would end a stage at each of its starts.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import yaml

from schemas import policies
from schemas.errors import HeadgateError
from schemas.policies import Policy
from schemas.records import ENCODER, Codec, Command, CommandRecord, Progress, Release
from schemas.timeline import Timeline
from streams.join.shapes import Shapes
from streams.judge.check import mistakes, notes
from streams.judge.core import Judge
from streams.judge.releases.checkpoint import Checkpoint
from streams.judge.rules import asked
from streams.judge.statistics import compare
from streams.log import LARGEST

NOW = 1_735_689_600_000

FULL = yaml.safe_load("""
model: m
pane: 10s
attribution: {window: 10m, lateness: 1m}
answer: 30s
k: [5, 10]
relevant: [click]
impressions: shown
truth: click
threshold: 0.5
slow_ms: 200
anomaly: 1.0
drift: {psi: 0.2, js: 0.1, ks: 0.1, wasserstein: 0.1}
segments: [surface]
unit: user
maturity: auto
explore: {share: 0.1, depth: 10}
examples: {share: 0.1, inputs: [a], features: [b]}
rules:
- {name: a, metric: latency_p99_ms, above: 200, clear: 150, for: 30s, window: 1m, labels: {team: x}}
- {name: b, metric: recall@5, below: 0.1, for: {of: 5, at_least: 3}, where: {arm: candidate}}
- {name: c, metric: ctr, outside: [0.1, 0.2], clear: [0.12, 0.18], summary: s, runbook: r, severity: page}
- {name: d, metric: ctr, baseline: {of: 1d, sigmas: 4, over: 1d}}
- {name: e, metric: error_rate, burn_rate: {objective: 0.99, factor: 2, windows: [1h, 5m]}}
- {name: f, metric: predictions, no_data: 5m}
- {name: g, metric: drift_psi, above: 0.2, impact: {metric: ctr, worse_by: 0.05, baseline: {of: moving}}}
- {name: h, metric: gpu_use, above: 1}
release:
  steps: [{weight: 0.1, for: 5m}, {weight: 0.5, for: 10m}]
  min_samples: 1000
  alpha: 0.05
  guardrails: [{metric: ctr, worse_by: 0.0}, {metric: error_rate, above: 0.05}, {metric: cvr, below: 0.01}]
  success: {metric: ctr, better_by: -0.02}
  timeout: 24h
  no_data: 2m
  cooldown: 1h
  watch_after: 24h
  watch_weight: 0.02
  ack_deadline: 10s
  dry_run: false
  shadow: {min_samples: 10, limits: [{metric: slow_rate, above: 1}, {metric: score_mean, differs_by: 0.1}]}
""")

EXTREMES: dict[str, object] = {
    "nothing": None,
    "no text": "",
    "no list": [],
    "no object": {},
    "nought": 0,
    "minus one": -1,
    "the least float": 5e-324,
    "a great float": 1e308,
    "its opposite": -1e308,
    "the greatest cut-off": 999_999_999,
    "64 bits": 2**63,
    "hundreds of digits": 10**400,
    "no time at all": "0s",
    "a time of hundreds of digits": f"{'9' * 400}s",
    "the longest time": "36500d",
    "a cut-off of thousands of digits": f"recall@{'9' * 5_000}",
    "a control character": "\x00",
    "thousands of words": [f"w{i}" for i in range(3_000)],
    "thousands of numbers": list(range(1, 3_000)),
}


def places(value: object, above: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The ways to all that is in a policy."""
    yield above
    inside: Any = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for step, part in inside:
        yield from places(part, (*above, step))


def put(value: Any, place: tuple[str | int, ...], extreme: object) -> Any:
    """The value with something else at a place in it."""
    if not place:
        return extreme
    copy = value.copy()
    copy[place[0]] = put(value[place[0]], place[1:], extreme)
    return copy


def reckoned_with(timeline: Timeline, policy: Policy) -> None:
    """What stages make of a policy as they take it."""
    assert policies.parse(policies.to_object(policy)) == policy
    Shapes(timeline).refresh()
    assert policy.deadline(NOW) < 1 << 62
    if not list(mistakes(policy)):
        list(notes(policy))
        asked.asks(policy)
        if policy.release is not None:
            compare.guardrails(policy.release)
            compare.success(policy.release)


def test_the_policy_that_is_changed_here_is_sound() -> None:
    assert list(mistakes(policies.parse(FULL))) == []


@pytest.mark.parametrize("extreme", EXTREMES.values(), ids=EXTREMES)
def test_whatever_stands_in_a_policy_is_reckoned_with_or_told_of(extreme: object) -> None:
    for place in places(FULL):
        timeline = Timeline()
        record = {"model": "m", "ts": NOW, "actor": "a", "policy": put(FULL, place, extreme)}
        try:
            policy = timeline.read(msgspec.json.encode(record), NOW)
        except HeadgateError:
            continue
        reckoned_with(timeline, policy)


COMMANDS: tuple[Command, ...] = ("promote", "rollback", "resume", "abort")


def released() -> dict[str, Any]:
    """A release that runs, as a judge wrote it, with all that one reads of a record's evidence."""
    judge = Judge(0, Timeline())
    for offset, version in enumerate(("v1", "v2")):
        judge.command(command("start", NOW, version), offset)
        [record] = judge.decide(NOW + offset, {}).releases
    written: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(record))
    alert = {
        "alert_id": "a",
        "model": "m",
        "rule": "r",
        "status": "firing",
        "severity": "page",
        "starts_at": NOW,
    }
    written["evidence"] |= {"as_of": {"control.commands": {"0": 2}}, "resolves": alert}
    written["evidence"]["state"] |= {"pause": {"phase": "canary", "at": NOW, "cause": "operator"}}
    return written


def command(word: Command, at: int, version: str | None = None) -> CommandRecord:
    return CommandRecord(
        model="m", ts=at, command=word, command_id=f"{word} {version} {at}", actor="a", version=version
    )


@pytest.mark.parametrize("extreme", EXTREMES.values(), ids=EXTREMES)
def test_whatever_stands_in_a_release_the_judge_goes_on_from_it(extreme: object) -> None:
    codec: Codec[Release] = Codec(Release)
    sound, timeline = released(), Timeline()
    timeline.add(policies.parse(FULL), NOW)
    for place in places(sound):
        try:
            record = codec.decode(msgspec.json.encode(put(sound, place, extreme)))
        except msgspec.DecodeError:
            continue
        for word in COMMANDS:
            judge = Judge(0, timeline)
            judge.adopt(record)
            judge.pane(Progress(partition=0, partitions=1, time=NOW, clock=NOW, snapshot=1), NOW)
            judge.command(command(word, NOW + 1_000), 1 << 62)
            judge.decide(NOW + 1_000, {})
            judge.forget(NOW + 1_000)


MEGABYTES = "x" * (LARGEST - 1_000)
"""What a broker takes in a command, and not twice in what follows from it."""


@pytest.mark.parametrize("extreme", [*EXTREMES.values(), MEGABYTES], ids=[*EXTREMES, "megabytes"])
def test_whatever_stands_in_a_command_what_follows_from_it_can_be_written_and_read(extreme: object) -> None:
    sound = msgspec.to_builtins(command("start", NOW, "v1")) | {
        "mode": "canary",
        "reason": "r",
        "generation": 0,
    }
    codec: Codec[CommandRecord] = Codec(CommandRecord)
    for place in places(sound):
        try:
            record = codec.decode(ENCODER.encode(put(sound, place, extreme)))
        except msgspec.DecodeError:
            continue
        judge = Judge(0, Timeline())
        judge.command(record, 0)
        decisions = judge.decide(NOW, {})
        for release in map(ENCODER.encode, decisions.releases):
            assert len(release) < LARGEST
            Codec[Release](Release).decode(release)
        for checkpoint in map(ENCODER.encode, decisions.checkpoints):
            assert len(checkpoint) < LARGEST
            Codec[Checkpoint](Checkpoint).decode(checkpoint)
