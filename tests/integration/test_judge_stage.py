"""The judge as a process on a real broker: fed with panes, commands and acks, killed, fenced, forced."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
import numpy as np
import pytest

import infra.topics
from schemas import policies, topics
from schemas.errors import HeadgateError
from schemas.records import (
    BUCKETS,
    ENCODER,
    Ack,
    Alert,
    Codec,
    Command,
    CommandRecord,
    DeadLetter,
    Pane,
    PolicyRecord,
    Progress,
    Record,
    Release,
)
from schemas.settings import Settings
from schemas.topics import Topic
from streams.judge import release
from streams.judge.release import Occasion
from streams.judge.writer import force_rollback, publish_release
from streams.log import Follower, Output

POLICY = {
    "model": "ranker",
    "pane": "1s",
    "attribution": {"window": "1s", "lateness": "1s"},
    "maturity": "1s",
    "rules": [{"name": "slow", "metric": "latency_mean_ms", "above": 100, "window": "1s"}],
    "release": {
        "steps": [{"weight": 0.3, "for": "1s"}],
        "min_samples": 500,
        "guardrails": [{"metric": "ctr", "worse_by": 0.0}],
        "success": {"metric": "ctr", "better_by": -0.3},
        "watch_after": "1h",
        "no_data": "1h",
        "cooldown": "1s",
        "ack_deadline": "1s",
    },
}

Value = TypeVar("Value", bound=Record)


def now() -> int:
    return time.time_ns() // 1_000_000


def canary(model: str) -> Release:
    return Release(
        model=model, generation=1, ts=now(), stable="v1", candidate="v2", weight=0.5, phase="canary",
        decision_id="d", reason="r",
    )  # fmt: skip


class Log(Generic[Value]):
    """The records of a topic so far."""

    def __init__(self, settings: Settings, topic: Topic, type_: type[Value]) -> None:
        self._follower = Follower(settings, topic)
        self._codec: Codec[Value] = Codec(type_)
        self._records: list[Value] = []

    def read(self) -> list[Value]:
        self._records += [self._codec.decode(entry.value) for entry in self._follower.refresh()]
        return self._records


class Bench:
    """A model of its own on the shared broker, its traffic, and judge processes."""

    def __init__(self, settings: Settings, folder: Path, model: str) -> None:
        self.settings = settings
        self.model = model
        self._folder = folder
        self._output = Output(settings)
        self._random = np.random.default_rng(0)
        self._number = now()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._releases = Log(settings, topics.RELEASES, Release)
        self._alerts = Log(settings, topics.ALERTS, Alert)

    def send(self, topic: Topic, record: Record) -> None:
        self._output.send(topic, self.model, ENCODER.encode(record))
        self._output.flush()

    def raw(self, topic: Topic, value: bytes) -> None:
        self._output.send(topic, self.model, value)
        self._output.flush()

    def apply(self, policy: Mapping[str, object]) -> None:
        value = msgspec.Raw(msgspec.json.encode({**policy, "model": self.model}))
        policies.parse(msgspec.json.decode(value))
        self.send(topics.POLICIES, PolicyRecord(model=self.model, ts=now(), policy=value, actor="olga"))

    def command(self, word: Command, version: str | None = None) -> None:
        record = CommandRecord(
            model=self.model, ts=now(), command=word, command_id=f"c{now()}", actor="olga", version=version
        )
        self.send(topics.COMMANDS, record)

    def second(self, rates: dict[str, float], latency: float = 10.0) -> None:
        """A second's traffic of the release in force, sent at once, and the worker's ack."""
        record = self.release
        assert record is not None
        self.send(
            topics.ACKS,
            Ack(
                model=self.model,
                worker="w1",
                ts=now(),
                kind="ack",
                generation=record.generation,
                status="applied",
            ),
        )
        start = now() // 1_000 * 1_000
        shares = {record.stable: 1 - record.weight}
        if record.candidate is not None:
            shares[record.candidate] = record.weight
        for version, share in shares.items():
            self._number += 1
            seen = self._random.poisson(3_000 * share / BUCKETS, BUCKETS)
            clicked = self._random.binomial(seen, rates[version])
            sums = {"predictions": seen, "impressions": seen, "clicks": clicked}
            pane = Pane(
                model=self.model, version=version, arm="stable" if version == record.stable else "candidate",
                segment="", segment_value="", start=start, end=start + 1_000, generation=record.generation,
                partition=0, part=0, snapshot=self._number, deadline=start + 3_000,
                sums={name: float(values.sum()) for name, values in sums.items()}
                | {"latency_ms": latency * float(seen.sum()), "timed": float(seen.sum())},
                buckets=list(range(BUCKETS)),
                bucket_sums={name: values.astype(float).tolist() for name, values in sums.items()},
            )  # fmt: skip
            self._output.send(topics.PANES, self.model, ENCODER.encode(pane))
        self._number += 1
        progress = Progress(
            partition=0, partitions=1, time=start + 1_000, clock=start + 1_000, snapshot=self._number
        )
        self._output.send(topics.PANES, self.model, ENCODER.encode(progress))
        self._output.flush()

    def start(self) -> subprocess.Popen[bytes]:
        """A judge process; its log goes to a file."""
        with (self._folder / f"judge-{len(self._processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", "import sys; from streams.worker import main; import os\n"
                 "sys.exit(main('judge', os.getppid()))"],
                stdin=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        assert process.stdin is not None
        with process.stdin as stdin:
            stdin.write(msgspec.json.encode(self.settings))
        self._processes.append(process)
        return process

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def logs(self) -> str:
        return "\n".join(file.read_text() for file in sorted(self._folder.glob("judge-*.log")))

    def releases(self) -> list[Release]:
        return [record for record in self._releases.read() if record.model == self.model]

    def alerts(self) -> list[Alert]:
        return [record for record in self._alerts.read() if record.model == self.model]

    @property
    def release(self) -> Release | None:
        return next(iter(reversed(self.releases())), None)

    def phase(self) -> str:
        return "" if self.release is None else self.release.phase

    def until(self, holds: Callable[[], bool], seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                pytest.fail(f"late; the judge's logs:\n{self.logs()}\nreleases: {self.releases()}")
            time.sleep(0.1)

    def traffic_until(
        self, holds: Callable[[], bool], rates: dict[str, float], seconds: float = 60.0
    ) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                pytest.fail(f"late; the judge's logs:\n{self.logs()}\nreleases: {self.releases()}")
            self.second(rates)
            time.sleep(1.0)


@pytest.fixture
def bench(settings: Settings, tmp_path: Path) -> Iterator[Bench]:
    infra.topics.create(settings, forever=True)
    made = Bench(settings, tmp_path, f"ranker-{now()}")
    made.apply(POLICY)
    made.command("start", "v1")
    yield made
    made.close()


def test_a_worse_candidate_is_rolled_back_once_although_the_judge_is_killed_on_the_way(bench: Bench) -> None:
    judge = bench.start()
    bench.until(lambda: bench.phase() == "stable")
    bench.command("start", "v2")
    bench.until(lambda: bench.phase() == "canary")
    judge.kill()
    judge.wait()
    for _ in range(3):
        bench.second({"v1": 0.2, "v2": 0.05})
        time.sleep(1.0)
    bench.start()
    bench.traffic_until(lambda: bench.phase() == "rolled_back", {"v1": 0.2, "v2": 0.05})
    assert [record.generation for record in bench.releases()] == [1, 2, 3]
    bench.until(lambda: any(alert.rule == "release_rolled_back" for alert in bench.alerts()))


def test_a_healthy_candidate_is_promoted_and_then_watched(bench: Bench) -> None:
    bench.start()
    bench.until(lambda: bench.phase() == "stable")
    bench.command("start", "v2")
    bench.until(lambda: bench.phase() == "canary")
    bench.traffic_until(lambda: bench.phase() == "watching", {"v1": 0.2, "v2": 0.2})
    assert bench.release is not None
    assert bench.release.stable == "v2"


def test_a_forced_rollback_fences_the_judge_which_ends_and_a_new_one_goes_on(bench: Bench) -> None:
    judge = bench.start()
    bench.until(lambda: bench.phase() == "stable")
    bench.command("start", "v2")
    bench.until(lambda: bench.phase() == "canary")
    forced = force_rollback(bench.settings, bench.model, "olga", "it burns", now())
    assert (forced.phase, forced.stable, forced.generation) == ("rolled_back", "v1", 3)
    bench.command("start", "v3")
    assert judge.wait(30) == 1
    assert "somebody else writes partition 0" in bench.logs()
    bench.start()
    bench.until(lambda: bench.phase() == "canary")
    assert bench.release is not None
    assert (bench.release.generation, bench.release.candidate) == (4, "v3")


def test_a_forced_rollback_works_without_any_judge(bench: Bench) -> None:
    publish_release(bench.settings, 0, canary(bench.model))
    force_rollback(bench.settings, bench.model, "olga", None, now())
    assert bench.release is not None
    assert (bench.release.phase, bench.release.stable, bench.release.candidate) == ("rolled_back", "v1", None)


def test_a_forced_rollback_ends_the_alert_about_the_pause_that_it_ends(bench: Bench) -> None:
    occasion = Occasion(now=now(), key="k", reason="no data", as_of={})
    paused = release.pause(release.read(canary(bench.model)), "no_data", occasion)
    publish_release(bench.settings, 0, paused)
    bench.start()

    def told() -> list[Alert]:
        return [alert for alert in bench.alerts() if alert.rule == "release_paused"]

    bench.until(lambda: len(told()) == 1)
    force_rollback(bench.settings, bench.model, "olga", None, now())
    bench.start()
    bench.until(lambda: len(told()) == 2)
    assert [alert.status for alert in told()] == ["firing", "resolved"]
    assert len({alert.alert_id for alert in told()}) == 1


def test_a_forced_rollback_of_what_has_no_release_says_so(bench: Bench) -> None:
    with pytest.raises(HeadgateError, match="has no release"):
        force_rollback(bench.settings, "nobody", "olga", None, now())


def test_a_judge_that_is_killed_again_and_again_applies_each_command_once(bench: Bench) -> None:
    judge = bench.start()
    bench.until(lambda: bench.phase() == "stable")
    for version in ("v2", "v3", "v4"):
        bench.command("start", version)
        bench.command("abort")
        judge.send_signal(signal.SIGKILL)
        judge.wait()
        judge = bench.start()
    bench.until(lambda: len(bench.releases()) >= 7)
    bench.command("start", "v5")
    bench.until(lambda: bench.phase() == "canary")
    assert [record.generation for record in bench.releases()] == list(range(1, 9))
    assert [record.candidate for record in bench.releases()] == [
        None,
        "v2",
        None,
        "v3",
        None,
        "v4",
        None,
        "v5",
    ]


def test_a_rule_fires_once_and_is_resolved_with_the_same_id(bench: Bench) -> None:
    bench.start()
    bench.until(lambda: bench.phase() == "stable")
    for latency in (10.0, 500.0, 500.0, 500.0, 10.0, 10.0, 10.0):
        bench.second({"v1": 0.1}, latency)
        time.sleep(1.0)
    bench.until(lambda: len([alert for alert in bench.alerts() if alert.rule == "slow"]) >= 2)
    fired, resolved = [alert for alert in bench.alerts() if alert.rule == "slow"]
    assert (fired.status, resolved.status) == ("firing", "resolved")
    assert fired.alert_id == resolved.alert_id
    assert fired.value is not None
    assert fired.value > 100


def test_an_alert_that_fires_while_the_judge_is_killed_is_resolved_by_its_successor_with_the_same_id(
    bench: Bench,
) -> None:
    judge = bench.start()
    bench.until(lambda: bench.phase() == "stable")

    def slow() -> list[Alert]:
        return [alert for alert in bench.alerts() if alert.rule == "slow"]

    bench.second({"v1": 0.1}, 10.0)
    time.sleep(1.0)
    while not slow():
        bench.second({"v1": 0.1}, 500.0)
        time.sleep(1.0)
    time.sleep(2.0)
    judge.kill()
    judge.wait()
    bench.second({"v1": 0.1}, 500.0)
    time.sleep(1.0)
    bench.start()
    bench.second({"v1": 0.1}, 500.0)
    time.sleep(1.0)
    while slow()[-1].status != "resolved":
        bench.second({"v1": 0.1}, 10.0)
        time.sleep(1.0)
    assert len({alert.alert_id for alert in slow()}) == 1
    assert [alert.status for alert in slow()] == ["firing", "resolved"]


def test_a_worker_that_does_not_acknowledge_is_an_alert_until_it_does(bench: Bench) -> None:
    bench.start()
    bench.until(lambda: bench.phase() == "stable")
    bench.command("start", "v2")
    bench.until(lambda: bench.phase() == "canary")
    bench.send(topics.ACKS, Ack(model=bench.model, worker="w7", ts=now(), kind="heartbeat", generation=1))

    def missing() -> list[Alert]:
        return [alert for alert in bench.alerts() if alert.rule == "ack_missing"]

    bench.until(lambda: len(missing()) == 1)
    assert (missing()[0].status, missing()[0].labels["worker"]) == ("firing", "w7")
    bench.send(
        topics.ACKS,
        Ack(model=bench.model, worker="w7", ts=now(), kind="ack", generation=2, status="applied"),
    )
    bench.until(lambda: len(missing()) == 2)
    assert missing()[1].status == "resolved"
    assert missing()[1].alert_id == missing()[0].alert_id


def test_a_record_that_cannot_be_read_is_a_dead_letter_and_the_judge_goes_on(bench: Bench) -> None:
    bench.start()
    bench.raw(topics.PANES, b"{}")
    bench.raw(topics.COMMANDS, b"\xff")
    letters = Log(bench.settings, topics.DEAD_LETTERS, DeadLetter)
    bench.until(lambda: {"metrics.panes", "control.commands"} <= {letter.topic for letter in letters.read()})
    bench.until(lambda: bench.phase() == "stable")
