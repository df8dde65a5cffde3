"""How soon a bad candidate is rolled back under 20,000 events a second: from the event with which the test
could have been decided to the release record. `python -m tests.bench rollback [rounds]`.

A local stack, join and judge as processes, and traffic that we make: requests, predictions of both arms,
clicks. In each round a candidate is started, answers well for some seconds, then only with errors. Of every
prediction we know when it was produced, so we know from when on all that had been produced proved the
guardrail: what is measured is the time from then to the Kafka timestamp of the rollback's record. That leaves
out what the test needs, and counts everything that Headgate takes: fetching, joining, emitting, judging,
writing.
"""

import json
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from threading import Thread
from typing import NamedTuple

import numpy as np
from confluent_kafka import KafkaError, Message

from infra.local.stack import LocalStack
from schemas import topics
from schemas.policies import ReleasePolicy
from schemas.records import BUCKETS, ENCODER, Ack, Codec, Command, CommandRecord, Release
from schemas.settings import Settings
from streams.judge.statistics import compare
from streams.judge.statistics.compare import Ratio, State, Stratum
from streams.log import Follower, Output
from tests.bench import live, processes, workload
from tests.bench.backlog import prepare
from tests.bench.contestants import log_of, stage, warm_up
from tests.bench.live import Timed

GOOD = 4.0
"""Seconds that a candidate answers well."""
PATIENCE = 60.0
LOOK = 10
"""Milliseconds between two looks at what had been produced."""
RELEASE: Codec[Release] = Codec(Release)


class Answer(NamedTuple):
    """A prediction of the candidate: its time and when the broker had it (ms), whether it is an error, and
    its user's bucket.
    """

    ts: int
    sent: float
    error: bool
    bucket: int


class Traffic(live.Traffic):
    """The live workload, answered as the release says: `generation`, `canary`, and whether the candidate is
    `bad`.
    """

    def __init__(self, settings: Settings, seconds: int) -> None:
        super().__init__(settings, seconds)
        self.generation = 1
        self.canary = self.bad = self.over = False
        self.answers: list[Answer] = []
        self._random = np.random.default_rng(1)

    def _send(self, timed: Timed, now: float) -> None:
        if self.over:
            return
        if timed.topic is not topics.PREDICTIONS:
            super()._send(timed, now)
            return
        key, ts, value = timed.event
        candidate = b'"arm":"candidate"' in value
        value = value.replace(b'"generation":2', b'"generation":%d' % self.generation)
        told: Callable[[KafkaError | None, Message], None] | None = None
        if candidate and not self.canary:
            value = value.replace(b'"version":"v2","arm":"candidate"', b'"version":"v1","arm":"stable"')
        elif candidate:
            bad = self.bad
            if bad:
                value = value.replace(b'"status":"ok"', b'"status":"error"')
            told = partial(self._arrived, ts, bad)
        name = timed.topic.full_name(self._settings.topics)
        while True:
            try:
                self._producer.produce(name, value, key, timestamp=ts, on_delivery=told)
                break
            except BufferError:
                self._producer.poll(live.STEP)
        self.records += 1

    def _arrived(self, ts: int, bad: bool, error: KafkaError | None, _message: Message) -> None:
        if error is None:
            bucket = int(self._random.integers(0, BUCKETS))
            self.answers.append(Answer(ts, 1_000 * time.time(), bad, bucket))


class Operator:
    """Starts releases, and is the one worker that acknowledges them."""

    def __init__(self, settings: Settings) -> None:
        self._output = Output(settings)
        self._releases = Follower(settings, topics.RELEASES)
        self.last: Release | None = None
        self.stamped = 0
        self._commands = 0

    def command(self, word: Command, version: str) -> None:
        self._commands += 1
        record = CommandRecord(
            model=workload.MODEL,
            ts=_now(),
            command=word,
            command_id=f"bench-{self._commands}",
            actor="bench",
            version=version,
        )
        self._output.send(topics.COMMANDS, record.model, ENCODER.encode(record))
        self._output.flush()

    def until(self, phase: str) -> Release:
        """The release, once it is in this phase; it is acknowledged at once."""
        deadline = time.monotonic() + PATIENCE
        while self.last is None or self.last.phase != phase:
            if time.monotonic() > deadline:
                raise TimeoutError(f"not {phase} within {PATIENCE:.0f} s: {self.last}")
            entries = self._releases.refresh() if self.last is None else self._releases.poll(0.02)
            for entry in entries:
                self.last, self.stamped = RELEASE.decode(entry.value), entry.timestamp
                self._acknowledge(self.last)
        return self.last

    def _acknowledge(self, release: Release) -> None:
        ack = Ack(
            model=release.model, worker="bench", ts=_now(), kind="ack", generation=release.generation,
            status="applied",
        )  # fmt: skip
        self._output.send(topics.ACKS, release.model, ENCODER.encode(ack))
        self._output.flush()


def measure(rounds: int) -> str:
    """So many candidates."""
    policy = workload.policy(
        pane="1s",
        attribution={"window": "2s", "lateness": "1s"},
        release={
            "steps": [{"weight": 0.1, "for": "1h"}],
            "min_samples": 1_000,
            "guardrails": [{"metric": "error_rate", "above": 0.05}],
            "cooldown": "0s",
        },
    )
    assert policy.release is not None
    with LocalStack() as stack:
        warm_up(stack.settings)
        settings = prepare(stack.settings, "rollback.", policy)
        children = []
        for name in ("join", "judge"):
            with log_of(f"rollback {name}").open("wb") as log:
                children.append(processes.of(stage(settings, log, "streams.worker", name).pid))
        traffic = Traffic(settings, int(rounds * (GOOD + 15)) + 60)
        feeder = Thread(target=traffic.run, daemon=True)
        try:
            feeder.start()
            found = _rounds(rounds, Operator(settings), traffic, policy.release)
        finally:
            traffic.over = True
            for child in children:
                processes.end(child)
    times = [delay for delay, _ in found]
    needed = [events for _, events in found]
    return (
        f"rollback: {live.RATE:,} events/s, from what proves it produced to the release record: p50 "
        f"{np.percentile(times, 50):,.0f} ms, p99 {np.percentile(times, 99):,.0f} ms, longest "
        f"{max(times):,.0f} ms of {rounds} rounds; the test needs {median(needed):,.0f} bad predictions "
        f"(produced at most {1_000 * traffic.latest:,.0f} ms late)"
    )


def _rounds(
    rounds: int, operator: Operator, traffic: Traffic, policy: ReleasePolicy
) -> list[tuple[float, int]]:
    """Of each round the delay in ms, and how many bad predictions the test needed."""
    operator.command("start", "v1")
    traffic.generation = operator.until("stable").generation
    found = []
    for _ in range(rounds):
        operator.command("start", "v2")
        traffic.generation = operator.until("canary").generation
        traffic.answers.clear()
        traffic.canary = True
        time.sleep(GOOD)
        traffic.bad = True
        release = operator.until("rolled_back")
        answers, stamped = list(traffic.answers), operator.stamped
        traffic.canary = traffic.bad = False
        traffic.generation = release.generation
        found.append(_delay(release, stamped, answers, policy))
    return found


def _delay(release: Release, stamped: int, answers: list[Answer], policy: ReleasePolicy) -> tuple[float, int]:
    """Milliseconds from when what had been produced proved the guardrail."""
    assert release.evidence is not None
    first = release.evidence["panes"]["first"]
    counted = sorted((answer for answer in answers if answer.ts >= first), key=lambda answer: answer.sent)
    (hypothesis,) = compare.guardrails(policy)
    errors, predictions, bad = np.zeros(BUCKETS), np.zeros(BUCKETS), 0
    nothing = Ratio(np.zeros(BUCKETS), np.zeros(BUCKETS))
    due = 0.0
    for answer in counted:
        predictions[answer.bucket] += 1
        errors[answer.bucket] += answer.error
        bad += answer.error
        if answer.error and answer.sent >= due:
            due = answer.sent + LOOK
            if hypothesis.look([Stratum(Ratio(errors, predictions), nothing)]).state is State.PROVEN:
                return stamped - answer.sent, bad
    raise AssertionError(f"rolled back without proof: {json.dumps(release.evidence, default=str)}")


def _now() -> int:
    return time.time_ns() // 1_000_000
