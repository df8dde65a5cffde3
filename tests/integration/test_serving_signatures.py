"""A serving worker with a key: what is not signed as it must be changes nothing, and it says so."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from schemas import topics
from schemas.records import ENCODER, Release
from schemas.settings import Signing
from schemas.signing import Key, Keyring
from tests import serving_models as models
from tests.conftest import SharedStack, isolated
from tests.integration.serving_world import World, now, until

KEY, OTHER = Key("2026-11", bytes(range(32))), Key("2026-05", bytes(range(32, 64)))


@pytest.fixture
def world(stack: SharedStack, tmp_path: Path) -> Iterator[World]:
    """With a key, and topics of its own."""
    file = tmp_path / "keys"
    file.write_text(f"{KEY.id}:{KEY.secret.hex()}\n")
    settings = isolated(stack.settings)
    made = World(msgspec.structs.replace(settings, signing=Signing(keys=str(file))), tmp_path)
    yield made
    made.close()


def release(world: World, generation: int, stable: str, key: Key | None) -> None:
    record = Release(
        model=models.MODEL, generation=generation, ts=now(), stable=stable, decision_id="d", reason="test"
    )
    value = ENCODER.encode(record)
    headers = [(name, signature or b"") for name, signature in Keyring([key] if key else []).sign(value)]
    world.write(topics.RELEASES, models.MODEL, value, headers)


def test_an_unsigned_or_badly_signed_release_is_refused_and_the_old_version_serves_on(world: World) -> None:
    world.start()
    release(world, 1, "v1", KEY)
    world.await_ack(1)
    for generation, key, reason in (
        (2, None, "generation 2 is refused: it is not signed"),
        (3, OTHER, "generation 3 is refused: it is signed with key 2026-05, expected one of 2026-11"),
    ):
        release(world, generation, "v2", key)
        (ack,) = world.await_ack(generation, status="failed")
        assert ack.error == reason
        assert ack.loaded == ["v1"]
    world.request("r1")
    world.flush()
    (answer,) = [one for one in world.await_answers(["r1"]) if one.request_id == "r1"]
    assert (answer.version, answer.generation, answer.status) == ("v1", 1, "ok")
    release(world, 2, "v2", KEY)
    world.await_ack(2)
    world.request("r2")
    world.flush()
    (answer,) = [one for one in world.await_answers(["r2"]) if one.request_id == "r2"]
    assert (answer.version, answer.generation) == ("v2", 2)


def test_a_worker_that_starts_takes_the_signed_release_whatever_came_after_it(world: World) -> None:
    release(world, 1, "v1", KEY)
    release(world, 5, "v3", None)
    world.start()
    world.await_ack(1)
    world.request("r3")
    world.flush()
    (answer,) = [one for one in world.await_answers(["r3"]) if one.request_id == "r3"]
    assert (answer.version, answer.generation) == ("v1", 1)


def test_heartbeats_tell_which_versions_there_are(world: World) -> None:
    world.start()
    release(world, 1, "v1", KEY)
    world.await_ack(1)
    beats = until(lambda: [beat for beat in world.acks("heartbeat") if beat.available])
    assert beats[-1].available == ["v1", "v2", "v3"]
    models.add_version(world.repository, "v4", 4)
    until(lambda: [beat for beat in world.acks("heartbeat") if "v4" in (beat.available or ())])
