"""Health of real processes on a real broker, as a probe or an operator sees it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer
from prometheus_client.parser import text_string_to_metric_families

import infra.topics
from infra.local import ports
from infra.local.kafka import Kafka
from schemas import topics
from schemas.receivers import Notify
from schemas.records import ENCODER, PolicyRecord
from schemas.settings import Examples, Settings
from streams import registry
from streams.log import Output
from tests.conftest import isolated
from tests.probing import Answer, ask

STAGE = Path(__file__).with_name("counting.py")


class Process:
    """A stage in a process of its own, and what it answers at `port`."""

    def __init__(self, settings: Settings, log: Path, command: list[str], port: int) -> None:
        self.log = log
        self.port = port
        with log.open("wb") as out:
            self.process = subprocess.Popen([sys.executable, *command], stdin=subprocess.PIPE, stderr=out)
        assert self.process.stdin is not None
        with self.process.stdin as stdin:
            stdin.write(msgspec.json.encode(settings))

    def ask(self, path: str, timeout: float = 10.0) -> Answer:
        return ask(self.port, path, timeout)

    def until(self, path: str, holds: Callable[[Answer], bool], seconds: float = 60.0) -> Answer:
        """The first answer for which `holds` does; fails, with the log, where none comes."""
        deadline = time.monotonic() + seconds
        while not holds(answer := self.ask(path)):
            if time.monotonic() > deadline or self.process.poll() is not None:
                pytest.fail(f"{path}: {answer}; the log:\n{self.log.read_text()}")
            time.sleep(0.05)
        return answer

    def until_ready(self) -> None:
        self.until("/readyz", lambda answer: answer.status == 200)

    def metric(self, name: str) -> float:
        """The sum of all samples of that name."""
        families = text_string_to_metric_families(self.ask("/metrics").text)
        return sum(sample.value for family in families for sample in family.samples if sample.name == name)

    def until_metric(self, name: str, value: float) -> None:
        self.until("/metrics", lambda _: self.metric(name) == value)


@pytest.fixture
def own(settings: Settings) -> Settings:
    """Settings with topics of this test's own, created."""
    made = isolated(settings)
    infra.topics.create(made, forever=True)
    return made


Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts processes of the counting stage, or of `stage`, that end with the test."""
    processes: list[Process] = []

    def start(settings: Settings, stage: str = "", port: int = 0, **options: object) -> Process:
        port = port or ports.free() - registry.number(stage)
        number = len(processes)
        streams = msgspec.structs.replace(settings.streams, health=f"127.0.0.1:{port}")
        command = ["-m", "streams.worker", stage, str(os.getpid())]
        if not stage:
            arguments = [f"{name}={value}" for name, value in options.items()]
            command = [str(STAGE), str(tmp_path / f"journal-{number}"), *arguments]
        process = Process(
            msgspec.structs.replace(settings, streams=streams),
            tmp_path / f"log-{number}",
            command,
            port + registry.number(stage),
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.process.kill()
        process.process.wait()


def produce(settings: Settings, count: int) -> None:
    producer = Producer(settings.kafka.librdkafka())
    for number in range(count):
        producer.produce(topics.REQUESTS.full_name(settings.topics), str(number), partition=0)
    assert producer.flush(30) == 0


def ask_for_examples(settings: Settings) -> None:
    """Without such a policy that stage has nothing to do."""
    policy = msgspec.Raw(b'{"model":"ranker","examples":{"share":1}}')
    record = PolicyRecord(model="ranker", ts=time.time_ns() // 1_000_000, policy=policy, actor="ann")
    output = Output(settings)
    output.send(topics.POLICIES, "ranker", ENCODER.encode(record))
    output.flush()


def impatient(settings: Settings, liveness: float) -> Settings:
    streams = msgspec.structs.replace(settings.streams, liveness=liveness)
    return msgspec.structs.replace(settings, streams=streams)


def test_a_process_under_flow_is_healthy_and_ready_and_counts_what_it_reads(
    own: Settings, start: Start
) -> None:
    produce(own, 1_500)
    process = start(own)
    process.until_ready()
    assert process.ask("/healthz").status == 200
    process.until_metric("headgate_records_total", 1_500)
    process.until_metric("headgate_lag_records", 0)
    process.until_metric("headgate_uncommitted_records", 500)
    produce(own, 500)
    process.until_metric("headgate_records_total", 2_000)
    process.until_metric("headgate_uncommitted_records", 0)
    assert process.metric("headgate_commits_total") >= 1
    assert process.metric("headgate_commit_age_seconds") < 10


def test_a_process_that_reads_nothing_more_says_so_before_it_ends_itself(own: Settings, start: Start) -> None:
    process = start(impatient(own, 1.0), slow=600)
    process.until_ready()
    produce(own, 10)
    answer = process.until("/healthz", lambda answer: answer.status != 200)
    assert answer.status == 503
    assert answer.text.startswith("one call of the stage has been running for ")
    assert process.ask("/readyz").status == 503
    assert process.process.wait(60) != 0


def test_without_its_broker_a_process_is_not_ready_and_stays_healthy_until_it_is_back(
    start: Start, tmp_path: Path
) -> None:
    kafka = Kafka(tmp_path / "kafka", tmp_path / "kafka.log")
    kafka.start()
    local = msgspec.structs.replace(
        Settings(), kafka=msgspec.structs.replace(Settings().kafka, brokers=kafka.brokers)
    )
    try:
        infra.topics.create(local, forever=True)
        process = start(impatient(local, 2.0))
        process.until_ready()
        kafka.stop()
        answer = process.until("/readyz", lambda answer: answer.status == 503)
        assert answer.text == f"Kafka at {kafka.brokers} does not answer"
        time.sleep(4.0)  # twice the patience: a broker that is away is nobody's fault here
        assert process.ask("/healthz").status == 200
        kafka.start()
        process.until_ready()
    finally:
        kafka.stop()


def test_a_process_that_waits_for_its_broker_says_so(start: Start) -> None:
    nowhere = f"127.0.0.1:{ports.free()}"
    process = start(
        msgspec.structs.replace(Settings(), kafka=msgspec.structs.replace(Settings().kafka, brokers=nowhere))
    )
    answer = process.until("/readyz", lambda answer: nowhere in answer.text)
    assert answer == (503, f"Kafka at {nowhere} does not answer")
    assert process.ask("/healthz").status == 200


def test_a_frozen_process_does_not_answer(own: Settings, start: Start) -> None:
    process = start(own)
    process.until_ready()
    process.process.send_signal(signal.SIGSTOP)
    assert process.ask("/healthz", timeout=1.0).status == 0
    process.process.send_signal(signal.SIGCONT)
    assert process.until("/healthz", lambda answer: answer.status != 0).status == 200


def test_a_second_process_at_the_same_address_works_all_the_same_and_answers_when_the_first_has_ended(
    own: Settings, start: Start
) -> None:
    first = start(own)
    first.until_ready()
    second = start(own, port=first.port)
    while "health is not served" not in second.log.read_text():
        assert second.process.poll() is None
        time.sleep(0.05)
    while "assigned in generation" not in second.log.read_text():
        assert second.process.poll() is None
        time.sleep(0.05)
    first.process.terminate()
    first.process.wait(30)
    second.until_ready()


def test_a_process_that_gets_no_partition_is_ready(own: Settings, start: Start) -> None:
    processes = [start(own, reads="metrics.samples") for _ in range(2)]
    for process in processes:
        process.until_ready()
    words = {"has 1 partitions", "has no partition: others have them all"}
    deadline = time.monotonic() + 30
    while {process.ask("/readyz").text for process in processes} != words:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("stage", list(registry.STAGES))
def test_each_stage_serves_health_on_a_port_of_its_own_and_says_what_only_it_knows(
    own: Settings, start: Start, stage: str
) -> None:
    notify = Notify(webhook=f"http://127.0.0.1:{ports.free()}")
    ask_for_examples(own)
    busy = msgspec.structs.replace(own, notify=notify, examples=Examples("of this test alone"))
    process = start(busy, stage)
    process.until("/metrics", lambda answer: "headgate_lag_records{" in answer.text)
    process.until_ready()
    found = {family.name for family in text_string_to_metric_families(process.ask("/metrics").text)}
    expected = {
        "join": "headgate_catching_up",
        "judge": "headgate_models",
        "sink": "headgate_rows",
        "notify": "headgate_posted_alerts",
        "examples": "headgate_rows",
    }
    assert {expected[stage], "headgate_lag_records", "process_resident_memory_bytes"} <= found


def test_the_stages_of_one_machine_are_one_port_apart() -> None:
    streams = msgspec.structs.replace(Settings().streams, health="127.0.0.1:9400")
    addresses = [streams.health_address(registry.number(stage)) for stage in registry.STAGES]
    assert addresses == [("127.0.0.1", port) for port in range(9400, 9400 + len(registry.STAGES))]
