"""When a stage's process is healthy and ready, and what it says of itself over HTTP."""

import asyncio
import http.client
import socket
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from infra.local import ports
from schemas import topics
from schemas.topics import Topic
from streams.columns import Records
from streams.driver import Batch, Driver
from streams.exposition import Exposition
from streams.health import Checkup, Health, Report, Standing
from streams.probes import serve
from streams.record import Record
from streams.stage import Assigned, Committed, Reading, TopicPartition
from streams.transport.liveness import Vitals

PLACE = TopicPartition("inference.requests", 3)
WELL = Report(
    at=100.0,
    ill=None,
    unready=None,
    partitions={PLACE: Standing(lag=0, uncommitted=0)},
    records={"inference.requests": 7},
    commits=2,
    commit_age=0.0,
    vitals={},
)
IDLE = Vitals(lag=0, moves=5, due=False, commits=3, busy_since=None)


def health(report: Report | None) -> Health:
    made = Health("join", patience=30.0)
    if report is not None:
        made.tell(report)
    return made


def test_before_it_works_a_process_is_healthy_but_not_ready_and_says_what_it_waits_for() -> None:
    made = health(None)
    made.waits_for = "Kafka at k:1 does not answer"
    assert made.healthy(0.0) == (True, "waiting: Kafka at k:1 does not answer")
    assert made.ready(0.0) == (False, "Kafka at k:1 does not answer")


def test_a_process_that_has_nothing_to_do_is_as_ready_as_it_can_be() -> None:
    made = health(None)
    made.waits_for, made.idle = "no policy asks for examples", True
    assert made.healthy(0.0) == (True, "waiting: no policy asks for examples")
    assert made.ready(0.0) == (True, "no policy asks for examples")


def test_a_process_at_work_is_both() -> None:
    made = health(WELL)
    assert made.healthy(101.0) == (True, "all is read")
    assert made.ready(101.0) == (True, "has 1 partitions")


def test_a_process_without_partitions_is_ready_for_others_have_them_all() -> None:
    assert health(WELL._replace(partitions={})).ready(101.0) == (
        True,
        "has no partition: others have them all",
    )


def test_what_is_wrong_is_said_and_makes_it_neither_healthy_nor_ready() -> None:
    made = health(WELL._replace(ill="10 offsets behind, but nothing was read for 31 s"))
    assert made.healthy(101.0) == (False, "10 offsets behind, but nothing was read for 31 s")
    assert made.ready(101.0) == made.healthy(101.0)


def test_an_event_loop_that_says_nothing_for_the_patience_is_stuck() -> None:
    made = health(WELL)
    assert made.healthy(130.0).well
    assert made.healthy(131.0) == (False, "the event loop has been stuck for 31 s")


def test_what_keeps_it_from_being_ready_does_not_make_it_ill() -> None:
    made = health(WELL._replace(unready="Kafka at k:1 does not answer"))
    assert made.healthy(101.0).well
    assert made.ready(101.0) == (False, "Kafka at k:1 does not answer")


class Still:
    """A stage that does nothing, and calls safe what it is told to."""

    name = "still"
    topics: Sequence[Topic] = (topics.REQUESTS,)

    def __init__(self) -> None:
        self.safes: dict[TopicPartition, Committed] = {}
        self.signs: dict[str, float] = {}

    def assigned(self, partitions: Mapping[TopicPartition, Assigned]) -> None: ...

    def revoked(self, partitions: Collection[TopicPartition]) -> None: ...

    async def process(self, partition: TopicPartition, records: Sequence[Record]) -> None: ...

    async def tick(self, readings: Mapping[TopicPartition, Reading], now: int) -> None: ...

    def held(self) -> Collection[TopicPartition]:
        return ()

    def safe(self, partition: TopicPartition) -> Committed | None:
        return self.safes.get(partition)

    def vitals(self) -> Mapping[str, float]:
        return self.signs

    async def close(self) -> None: ...


class Desk:
    """A driver of a stage that does nothing, and its checkup."""

    def __init__(self) -> None:
        self.stage = Still()
        self.driver = Driver(self.stage)
        self.checkup = Checkup(self.driver, 30.0, "k:1", now=0.0)

    def assign(self, *, offset: int, end: int) -> None:
        self.driver.assign((), {PLACE: Assigned(Committed(offset, ""), 0, end)}, 1, asked=1)

    def skip_to(self, offset: int) -> None:
        """Has the driver read offsets without records."""
        start = self.driver.positions()[PLACE]
        asyncio.run(self.driver.process(Batch(PLACE, Records.of(()), start, offset, 0)))


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_until_the_group_has_settled_a_process_is_not_ready(desk: Desk) -> None:
    assert desk.checkup.report(1.0).unready == "the group has not dealt out its partitions yet"
    desk.driver.assign((), {}, 1, asked=1)
    assert desk.checkup.report(1.0).unready is None


def test_a_process_is_ready_once_it_has_read_what_was_there_when_it_took_over(desk: Desk) -> None:
    desk.assign(offset=10, end=100)
    desk.skip_to(99)
    assert desk.checkup.report(1.0).unready == (
        "1 offsets are still to be read of what was there when it took over"
    )
    desk.skip_to(100)
    assert desk.checkup.report(1.0).unready is None


def test_a_stage_that_is_catching_up_is_not_ready(desk: Desk) -> None:
    desk.assign(offset=10, end=10)
    desk.stage.signs = {"catching_up": 2}
    assert desk.checkup.report(1.0).unready == "2 partitions are still being caught up with"


def test_lag_and_what_a_successor_would_read_again_are_told_for_each_partition(desk: Desk) -> None:
    desk.assign(offset=10, end=100)
    desk.skip_to(40)
    assert desk.checkup.report(1.0).partitions == {PLACE: Standing(lag=60, uncommitted=30)}


def test_work_that_does_not_get_done_for_the_patience_is_an_illness(desk: Desk) -> None:
    behind = IDLE._replace(lag=10)
    desk.checkup.broker_answers(0.0, behind)
    assert desk.checkup.report(30.0).ill is None
    desk.checkup.broker_answers(31.0, behind)
    assert desk.checkup.report(31.0).ill == "10 offsets behind, but nothing was read for 31 s"


def test_without_the_broker_a_process_is_not_ready_but_not_ill_either(desk: Desk) -> None:
    desk.assign(offset=10, end=10)
    desk.checkup.broker_answers(0.0, IDLE._replace(lag=10))
    desk.checkup.broker_answers(31.0, IDLE._replace(lag=10))
    desk.checkup.broker_is_silent()
    report = desk.checkup.report(40.0)
    assert (report.ill, report.unready) == (None, "Kafka at k:1 does not answer")


def test_the_age_of_commits_counts_from_when_there_was_something_to_commit(desk: Desk) -> None:
    desk.assign(offset=10, end=100)
    assert desk.checkup.report(50.0).commit_age == 0.0
    desk.skip_to(40)
    desk.stage.safes[PLACE] = Committed(40, "")
    assert desk.checkup.report(57.0).commit_age == 7.0
    desk.driver.committed({PLACE: Committed(40, "")})
    assert desk.checkup.report(60.0).commit_age == 0.0


def test_a_process_that_is_about_to_end_says_why(desk: Desk) -> None:
    desk.driver.failure = ValueError("the bomb")
    assert desk.checkup.report(1.0).ill == "it ends: the bomb"


Get = Callable[[str], tuple[int, str]]


def asking(port: int, accept: str = "") -> Get:
    """Asks for paths of what serves at a port, which may be still starting."""

    def get(path: str) -> tuple[int, str]:
        deadline = time.monotonic() + 30
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            try:
                connection.request("GET", path, headers={"Accept": accept} if accept else {})
                response = connection.getresponse()
                return response.status, response.read().decode()
            except ConnectionRefusedError:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            finally:
                connection.close()

    return get


class Served(NamedTuple):
    """What is served at a port of loopback."""

    health: Health
    port: int
    get: Get


@pytest.fixture
def served() -> Served:
    made, port = health(None), ports.free()
    serve(made, Exposition(made), ("127.0.0.1", port))
    return Served(made, port, asking(port))


def test_answers_come_as_200_or_503_with_the_sentence(served: Served) -> None:
    made, _, get = served
    assert get("/healthz") == (200, "waiting: it is starting\n")
    assert get("/readyz") == (503, "it is starting\n")
    made.tell(WELL._replace(at=time.monotonic()))
    assert get("/readyz?verbose") == (200, "has 1 partitions\n")
    made.tell(WELL._replace(at=time.monotonic(), ill="dead"))
    assert get("/healthz") == (503, "dead\n")


def test_other_paths_are_not_found(served: Served) -> None:
    assert served.get("/")[0] == 404


def values(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_are_what_prometheus_reads(served: Served) -> None:
    made, _, get = served
    made.tell(
        WELL._replace(
            at=time.monotonic(),
            partitions={PLACE: Standing(lag=60, uncommitted=30)},
            commit_age=1.5,
            vitals={"open_panes": 12, "dead_letters_total": 3, "watermark_delay_seconds": 2.5},
        )
    )
    found = values(get("/metrics")[1])
    join = ("stage", "join")
    place = (("partition", "3"), join, ("topic", "inference.requests"))
    assert found["headgate_records_total", (join, ("topic", "inference.requests"))] == 7
    assert found["headgate_lag_records", place] == 60
    assert found["headgate_uncommitted_records", place] == 30
    assert found["headgate_commit_age_seconds", (join,)] == 1.5
    assert found["headgate_open_panes", (join,)] == 12
    assert found["headgate_dead_letters_total", (join,)] == 3
    assert found["headgate_watermark_delay_seconds", (join,)] == 2.5
    assert found["headgate_healthy", (join,)] == 1
    assert found["process_resident_memory_bytes", ()] > 1 << 20


def test_metrics_can_be_asked_for_as_openmetrics_too() -> None:
    port = ports.free()
    serve(made := health(WELL), Exposition(made), ("127.0.0.1", port))
    status, text = asking(port, "application/openmetrics-text; version=1.0.0")("/metrics")
    assert status == 200
    assert text.endswith("# EOF\n")


def test_where_the_address_is_taken_it_is_said_once_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("streams.probes.RETRY", 0.05)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        serve(made := health(WELL), Exposition(made), ("127.0.0.1", port))
        deadline = time.monotonic() + 10
        while "HEADGATE_HEALTH" not in caplog.text:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert asking(port)("/healthz")[0] == 503  # the report is of long ago
    assert caplog.text.count("health is not served") == 1


def test_nobody_who_says_nothing_keeps_others_from_an_answer(served: Served) -> None:
    assert served.get("/healthz")[0] == 200
    with socket.create_connection(("127.0.0.1", served.port)):
        assert served.get("/healthz")[0] == 200
