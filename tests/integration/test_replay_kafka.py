"""`headgate replay --from-kafka`: the real topics say through it what the live stages said of them."""

import json
import random
import time
from pathlib import Path

import pytest

from schemas.policies import parse
from schemas.records import ENCODER, Ack, Alert, CommandRecord, Feedback, Prediction, Release
from schemas.settings import Settings
from schemas.topics import ACKS, ALERTS, COMMANDS, EVENTS, FEEDBACK, PREDICTIONS, RELEASES
from streams.log import Output
from tests import replaying
from tests.conftest import SharedStack, isolated
from tests.integration.headgate_command import Done, Headgate
from tests.judge_processes import Log, now
from tests.oracle import stages, traffic
from tests.oracle.traffic import REFERENCE, SENTINEL, WATCHED, Traffic, Views
from tests.oracle.views import disagreements

SECONDS = 6


@pytest.fixture
def own_settings(stack: SharedStack) -> Settings:
    """Topics of this test alone."""
    return isolated(stack.settings)


def replay(settings: Settings, folder: Path, *arguments: str) -> Done:
    """The command on these topics."""
    return Headgate(settings, folder)("replay", "--from-kafka", *arguments)


@pytest.mark.timeout(300)
def test_final_rows_are_those_of_the_live_stages_and_of_the_definitions(
    tmp_path: Path, settings: Settings
) -> None:
    stages.prepare(tmp_path, settings, WATCHED, SENTINEL)
    stages.publish(settings, REFERENCE)
    rng = random.Random(3)
    with stages.running(tmp_path, settings):
        with Traffic(settings, rate=60, bad=0) as flowing:
            for _ in range(SECONDS * 10):
                flowing.send_bad(rng.choice(EVENTS), rng.choice(traffic.BAD))
                time.sleep(0.1)
        traffic.wait_until_final(settings)
        live = Views(settings).metrics(segments=False)
    done = replay(settings, tmp_path, "--only", "pane")
    assert done.status == 0, done.err
    replayed = replaying.values(map(json.loads, done.out.splitlines()))
    final = {row: value for row, value in live.items() if value.final}
    assert len(final) > 1_000
    assert disagreements(final, {row: replayed[row] for row in final if row in replayed}) == []
    again = replay(settings, tmp_path, "--only", "pane")
    assert again.out == done.out


RELEASED = parse(
    {
        "model": "shop",
        "pane": "1s",
        "attribution": {"window": "1s", "lateness": "1s"},
        "maturity": "1s",
        "rules": [{"name": "slow", "metric": "latency_mean_ms", "above": 50, "window": "2s"}],
        "release": {
            "steps": [{"weight": 0.5, "for": "1h"}],
            "min_samples": 200,
            "guardrails": [{"metric": "ctr", "worse_by": 0.0}],
        },
    }
)


class Shop:
    """A model's traffic, its worker's acks, and its operator."""

    def __init__(self, settings: Settings) -> None:
        self._output = Output(settings)
        self._random = random.Random(2)
        self._number = 0
        self._acknowledged = 0
        self.releases = Log(settings, RELEASES, Release)
        self.alerts = Log(settings, ALERTS, Alert)

    def command(self, version: str) -> None:
        record = CommandRecord(
            model="shop", ts=now(), command="start", command_id=version, actor="olga", version=version
        )
        self._output.send(COMMANDS, "shop", ENCODER.encode(record))

    def moment(self, rates: dict[str, float], latency: float) -> None:
        """A tenth of a second."""
        for _ in range(8):
            for version, rate in rates.items():
                self._number += 1
                ts, name = now(), f"r{self._number}"
                prediction = Prediction(
                    request_id=name, ts=ts, model="shop", version=version, status="ok", items=[1, 2],
                    arm="stable" if version == "v1" else "candidate", latency_ms=latency,
                    user=f"u{self._random.randrange(300)}",
                )  # fmt: skip
                self._output.send(PREDICTIONS, name, ENCODER.encode(prediction))
                if self._random.random() < rate:
                    click = Feedback(request_id=name, ts=ts, kind="click", item=1)
                    self._output.send(FEEDBACK, name, ENCODER.encode(click))
        for release in self.releases.read():
            if release.model == "shop" and release.generation > self._acknowledged:
                self._acknowledged = release.generation
                ack = Ack(
                    model="shop", worker="w", ts=now(), kind="ack", generation=release.generation,
                    status="applied", loaded=["v1", "v2"],
                )  # fmt: skip
                self._output.send(ACKS, "shop", ENCODER.encode(ack))
        self._output.flush()
        time.sleep(0.1)

    def until(self, phase: str, rates: dict[str, float], latency: float = 5.0) -> None:
        """Traffic until the release is in that phase."""
        deadline = time.monotonic() + 90
        while not any(record.phase == phase for record in self.releases.read()):
            assert time.monotonic() < deadline, f"not {phase} in time"
            self.moment(rates, latency)


LOOKS = 2_000
"""Milliseconds: a live judge may look at a pane of a second before all of it has been told."""


@pytest.mark.timeout(300)
def test_what_the_judge_decided_live_a_replay_decides_again_and_under_another_policy_otherwise(
    tmp_path: Path, own_settings: Settings
) -> None:
    settings = own_settings
    stages.prepare(tmp_path, settings, RELEASED)
    shop = Shop(settings)
    with stages.running(tmp_path, settings, "join", "judge"):
        shop.command("v1")
        shop.until("stable", {"v1": 0.6})
        shop.command("v2")
        shop.until("canary", {"v1": 0.6})
        shop.until("rolled_back", {"v1": 0.6, "v2": 0.05})
        for _ in range(60):
            shop.moment({"v1": 0.6}, latency=200.0)
        live = shop.releases.read()
        slow = {alert.starts_at for alert in shop.alerts.read() if alert.rule == "slow"}
    assert len(slow) == 1
    done = replay(settings, tmp_path, "--only", "alert,release")
    found = [json.loads(line) for line in done.out.splitlines()]
    releases = replaying.of_type(found, "release")
    assert [each["phase"] for each in releases] == [record.phase for record in live]
    assert [each["generation"] for each in releases] == [record.generation for record in live]
    [again] = {each["starts_at"] for each in replaying.of_type(found, "alert") if each["rule"] == "slow"}
    assert isinstance(again, int)
    assert abs(slow.pop() - again) <= LOOKS
    (tmp_path / "lenient.yaml").write_text(
        "model: shop\npane: 1s\nattribution: {window: 1s, lateness: 1s}\nmaturity: 1s\n"
        "release:\n  steps: [{weight: 0.5, for: 1h}]\n  guardrails: [{metric: error_rate, above: 0.5}]\n"
    )
    other = replay(settings, tmp_path, "--only", "alert,release", "--policy", "lenient.yaml")
    assert [json.loads(line)["phase"] for line in other.out.splitlines()] == ["stable", "canary"]
