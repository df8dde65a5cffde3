"""Whoever serves with something else follows releases through `serving.follower`, on a real broker."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from infra.local.kafka import Kafka
from schemas import topics
from schemas.records import ENCODER, Ack, Release
from schemas.settings import Settings, Signing
from schemas.signing import Key, Keyring
from serving.follower import Follower, Wish
from serving.steering import Voice
from tests import serving_models as models
from tests.conftest import SharedStack, isolated
from tests.integration.serving_world import Topics, World, now, until

KEY = Key("2026-11", bytes(range(32)))


class Server:
    """A server of somebody's own: what it was asked to make so, and a gate that loads wait at while it is
    closed. It has no version that begins with an x."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.gave_up: list[int] = []
        self.threads: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()

    def make_so(self, wish: Wish) -> list[str]:
        release = wish.release
        self.asked.append(release.generation)
        self.threads.add(threading.current_thread().name)
        if release.stable.startswith("x"):
            raise ValueError(f"there is no {release.stable}")
        while not self.gate.wait(0.01):
            if wish.superseded.is_set():
                self.gave_up.append(release.generation)
                raise TimeoutError("superseded")
        return [release.stable]


class Office:
    """A follower of the model on topics of its own."""

    def __init__(self, settings: Settings, folder: Path, close: ExitStack) -> None:
        self.world = World(settings, folder)
        close.callback(self.world.close)
        self.server = Server()
        self._close = close

    def follow(self) -> Follower:
        return self._close.enter_context(
            Follower(self.world.settings, [models.MODEL], self.server.make_so, worker="triton-1")
        )

    def acks(self) -> list[tuple[int, str | None]]:
        return [(ack.generation, ack.status) for ack in self.world.acks()]

    def until_acked(self, generation: int, status: str) -> Ack:
        (ack,) = self.world.await_ack(generation, status=status)
        return ack


@pytest.fixture
def office(stack: SharedStack, tmp_path: Path) -> Iterator[Office]:
    with ExitStack() as close:
        yield Office(isolated(stack.settings), tmp_path, close)


def test_a_release_is_made_so_and_acknowledged_before_and_after(office: Office) -> None:
    follower = office.follow()
    office.world.release(1, "v1")
    ack = office.until_acked(1, "applied")
    assert office.acks() == [(1, "loading"), (1, "applied")]
    assert (ack.worker, ack.loaded) == ("triton-1", ["v1"])
    in_force = follower.in_force(models.MODEL)
    assert in_force is not None
    assert in_force.stable == "v1"


def test_of_what_was_there_before_only_the_newest_is_made_so(office: Office) -> None:
    for generation in (1, 2, 3):
        office.world.release(generation, f"v{generation}")
    follower = office.follow()
    assert follower.ready.wait(30)
    office.until_acked(3, "applied")
    assert office.server.asked == [3]


def test_what_the_callback_raises_is_the_reason_of_the_ack_and_the_old_release_stays(office: Office) -> None:
    follower = office.follow()
    office.world.release(1, "v1")
    office.until_acked(1, "applied")
    office.world.release(2, "x2")
    ack = office.until_acked(2, "failed")
    assert (ack.error, ack.loaded) == ("there is no x2", ["v1"])
    in_force = follower.in_force(models.MODEL)
    assert in_force is not None
    assert in_force.generation == 1


def test_a_callback_that_answers_one_name_in_place_of_several_has_failed(office: Office) -> None:
    office.server.make_so = lambda wish: "v1"  # type: ignore[method-assign,assignment,return-value]
    office.follow()
    office.world.release(1, "v1")
    ack = office.until_acked(1, "failed")
    assert ack.error == "what make_so returns: found the text 'v1', expected a list of names: ['v1']"


def test_an_older_generation_changes_nothing(office: Office) -> None:
    office.follow()
    office.world.release(5, "v5")
    office.until_acked(5, "applied")
    office.world.release(4, "v4")
    office.world.release(6, "v6")
    office.until_acked(6, "applied")
    assert office.server.asked == [5, 6]


def test_a_load_that_looks_at_what_is_wanted_makes_way_for_a_rollback(office: Office) -> None:
    office.server.gate.clear()
    office.follow()
    office.world.release(1, "v1")
    office.until_acked(1, "loading")
    office.world.release(2, "v2")
    until(lambda: office.server.gave_up == [1])
    office.server.gate.set()
    office.until_acked(2, "applied")
    assert (1, "failed") not in office.acks()


def test_a_slow_callback_holds_up_neither_the_caller_nor_signs_of_life(office: Office) -> None:
    office.server.gate.clear()
    office.world.release(1, "v1")
    started = time.monotonic()
    follower = office.follow()
    assert time.monotonic() - started < 5
    office.until_acked(1, "loading")
    beats = until(lambda: office.world.acks("heartbeat"))
    assert {beat.generation for beat in beats} == {0}
    assert follower.in_force(models.MODEL) is None
    assert office.server.threads == {"make ranker generation 1 so"}


def test_an_unsigned_release_is_refused_where_a_key_is_configured(stack: SharedStack, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{KEY.id}:{KEY.secret.hex()}\n")
    signed = msgspec.structs.replace(isolated(stack.settings), signing=Signing(keys=str(keys)))
    with ExitStack() as close:
        office = Office(signed, tmp_path, close)
        office.follow()
        office.world.release(1, "v1")
        assert office.until_acked(1, "failed").error == "generation 1 is refused: it is not signed"
        record = Release(
            model=models.MODEL, generation=1, ts=now(), stable="v2", decision_id="d", reason="test"
        )
        value = ENCODER.encode(record)
        headers = [(name, signature or b"") for name, signature in Keyring([KEY]).sign(value)]
        office.world.write(topics.RELEASES, models.MODEL, value, headers)
        assert office.until_acked(1, "applied").loaded == ["v2"]


def test_a_topic_that_does_not_exist_is_said_once_and_ends_it(stack: SharedStack) -> None:
    with Follower(isolated(stack.settings), [models.MODEL], lambda wish: []) as follower:
        assert follower.ready.wait(30)
        assert "control.releases" in str(follower.failure)


@pytest.fixture
def own(kafka: Kafka) -> Settings:
    """A broker of the test's own, without any topic but those that it makes."""
    return msgspec.structs.replace(
        Settings(), kafka=msgspec.structs.replace(Settings().kafka, brokers=kafka.brokers)
    )


@pytest.mark.soak
def test_what_kafka_did_not_take_in_an_outage_is_said_again_and_releases_are_followed_on(
    kafka: Kafka,
    own: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("streams.log.DELIVERY", 3_000)  # ms; two minutes are too long for a test
    caplog.set_level("INFO")
    with ExitStack() as close:
        office = Office(own, tmp_path, close)
        office.server.gate.clear()
        office.follow()
        office.world.release(1, "v1")
        office.until_acked(1, "loading")
        worker = Voice(own, "w1", now)
        kafka.stop()
        office.server.gate.set()
        worker.publish(topics.PROFILES, "ranker/v1", b"{}")
        lost = ("control.acks (ranker)", "control.profiles (ranker/v1)")

        def is_lost() -> bool:
            worker.mend()
            return all(f"{topic} is said again" in caplog.text for topic in lost)

        until(is_lost)
        kafka.start()
        office.until_acked(1, "applied")
        office.world.release(2, "v2")
        office.until_acked(2, "applied")
        profiles = Topics(own, topics.PROFILES)
        close.callback(profiles.close)

        def is_there() -> bool:
            worker.mend()
            return profiles.read(dict) != []

        until(is_there)
