"""How soon the loop closes: bad events → alert, and release record → last worker's ack. `python -m
tests.bench loop [rounds]`.

A local stack, the three stages and eight serving workers, all as processes; times are the difference of
Kafka's timestamps of the records concerned, all stamped on this machine.
"""

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from uuid import uuid4

import numpy as np

from infra import topics as broker
from infra.local.process import Process
from infra.local.stack import LocalStack
from schemas import topics
from schemas.records import ENCODER, Ack, Alert, Codec, CommandRecord, Prediction, Release
from schemas.settings import Settings
from streams.log import Follower, Output
from tests import serving_models
from tests.bench import workload

WORKERS = 8
RATE = 200
"""Predictions a second, while alerts are timed."""
PATIENCE = 60.0
RELEASE = {"steps": [{"weight": 0.5, "for": "1h"}], "cooldown": "0s", "no_data": "1h"}
RULE = {"name": "errors", "metric": "error_rate", "above": 0.5, "window": "1s", "severity": "page"}


class Times(NamedTuple):
    """Milliseconds, one a round."""

    alerts: list[float]
    starts: list[float]
    rollbacks: list[float]

    def __str__(self) -> str:
        return (
            f"loop: first bad event to alert {_spread(self.alerts)}\n"
            f"loop: record of a start, whose version has to be loaded, to the last of {WORKERS} workers' "
            f"acks {_spread(self.starts)}\n"
            f"loop: record of a rollback to the last of {WORKERS} workers' acks {_spread(self.rollbacks)}"
        )


def measure(rounds: int) -> Times:
    """`rounds` of each."""
    with ExitStack() as resources:
        stack = resources.enter_context(LocalStack())
        folder = Path(resources.enter_context(TemporaryDirectory()))
        settings = stack.settings
        broker.create(settings, forever=True)
        attribution = {"window": "2s", "lateness": "1s"}
        policy = workload.policy(
            model=serving_models.MODEL, pane="1s", attribution=attribution, rules=[RULE], release=RELEASE
        )
        workload.apply(settings, policy, _now())
        for seed, version in enumerate(("v1", "v2")):
            serving_models.add_version(folder, version, seed)
        commands = [["streams"], *[["serve", "--models", str(folder)]] * WORKERS]
        for number, arguments in enumerate(commands):
            process = Process(arguments[0], stack.logs / f"{arguments[0]}-{number}.log")
            process.start([sys.executable, "-m", "infra.cli", *arguments], settings.environment())
            resources.callback(process.stop)
        starts, rollbacks = _time_acks(settings, rounds)
        return Times(_time_alerts(settings, rounds), starts, rollbacks)


def _time_acks(settings: Settings, rounds: int) -> tuple[list[float], list[float]]:
    """Of starts and of rollbacks, one after the other."""
    output = Output(settings)
    starts: list[float] = []
    rollbacks: list[float] = []
    releases, acks = Follower(settings, topics.RELEASES), Follower(settings, topics.ACKS)
    acked: dict[int, dict[str, int]] = {}
    stamped: dict[int, int] = {}
    release: Codec[Release] = Codec(Release)
    ack: Codec[Ack] = Codec(Ack)

    def read() -> None:
        for entry in releases.refresh():
            stamped[release.decode(entry.value).generation] = entry.timestamp
        for entry in acks.refresh():
            said = ack.decode(entry.value)
            if said.kind == "ack" and said.status == "applied":
                acked.setdefault(said.generation, {}).setdefault(said.worker, entry.timestamp)

    for generation in range(1, 2 * rounds + 2):
        command = "start" if generation == 1 or generation % 2 == 0 else "rollback"
        version = "v1" if generation == 1 else "v2" if command == "start" else None
        _order(output, command, version)
        _until(read, lambda g=generation: g in stamped and len(acked.get(g, {})) == WORKERS)  # type: ignore[misc]
        if generation > 1:
            times = rollbacks if generation % 2 else starts
            times.append(float(max(acked[generation].values()) - stamped[generation]))
    return starts, rollbacks


def _time_alerts(settings: Settings, rounds: int) -> list[float]:
    """Good predictions, then only errors until the alert fires, then good ones until it resolves; again."""
    output, follower, times = Output(settings), Follower(settings, topics.ALERTS), []
    alert: Codec[Alert] = Codec(Alert)
    fired: list[int] = []
    resolved: list[int] = []

    def heard(of: list[int]) -> bool:
        for entry in follower.refresh():
            said = alert.decode(entry.value)
            if said.rule == RULE["name"]:
                (fired if said.status == "firing" else resolved).append(entry.timestamp)
        return bool(of)

    for _ in range(rounds):
        _predict(output, "ok", 4.0, lambda: False)
        heard(fired)
        fired.clear()
        began = _now()
        _predict(output, "error", PATIENCE, lambda: heard(fired))
        times.append(float(fired[0] - began))
        resolved.clear()
        _predict(output, "ok", PATIENCE, lambda: heard(resolved))
    return times


def _predict(output: Output, status: str, seconds: float, done: Callable[[], bool]) -> None:
    """Predictions of somebody else's worker, a tenth of a second's at a time, for so long or until `done`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        began = time.monotonic()
        for _ in range(RATE // 10):
            prediction = Prediction(
                request_id=str(uuid4()),
                ts=_now(),
                model=serving_models.MODEL,
                version="v1",
                arm="stable",
                status=status,  # type: ignore[arg-type]
                latency_ms=5.0,
                items=[1, 2, 3],
            )
            output.send(topics.PREDICTIONS, prediction.request_id, ENCODER.encode(prediction))
        output.flush()
        if done():
            return
        time.sleep(max(0.0, 0.1 - (time.monotonic() - began)))


def _order(output: Output, command: str, version: str | None) -> None:
    record = CommandRecord(
        model=serving_models.MODEL,
        ts=_now(),
        command=command,  # type: ignore[arg-type]
        command_id=str(uuid4()),
        actor="bench",
        version=version,
    )
    output.send(topics.COMMANDS, record.model, ENCODER.encode(record))
    output.flush()


def _until(read: Callable[[], None], happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing came within {PATIENCE:.0f} s")
        read()
        time.sleep(0.05)


def _spread(times: list[float]) -> str:
    middle, late = np.percentile(times, [50, 99])
    return f"p50 {middle:,.0f} ms, p99 {late:,.0f} ms, longest {max(times):,.0f} ms ({len(times)} times)"


def _now() -> int:
    return time.time_ns() // 1_000_000
