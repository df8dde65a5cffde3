"""Whoever serves with something else answers requests through `serving.responder`, on a real broker."""

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import TopicPartition

from infra.local.kafka import Kafka
from schemas import topics
from schemas.records import ORIGIN, Prediction, Request
from schemas.settings import Settings
from serving.follower import Follower, Wish
from serving.intake import group_of
from serving.responder import SETTLE, Responder
from serving.router import is_candidate
from streams import offsets
from tests import serving_models as models
from tests.conftest import SharedStack, isolated
from tests.integration.serving_world import PATIENCE, World, until

SALT = "s"


class Server:
    """A server of somebody's own: a version likes the items best whose remainder by its number is largest,
    and those that are asked about under certain names go wrong."""

    def __init__(self) -> None:
        self.holding = threading.Event()
        self.let_go = threading.Event()

    def make_so(self, wish: Wish) -> list[str]:
        release = wish.release
        return [one for one in (release.stable, release.candidate, release.shadow) if one is not None]

    def score(self, version: str, request: Request) -> Sequence[float]:
        items = [int(item) for item in request.items or []]
        match request.request_id.rstrip("0123456789"):
            case "raises":
                raise ConnectionError("the server\nis away")
            case "short":
                return [0.5]
            case "nan":
                return [float("nan") for _ in items]
            case "slow":
                time.sleep(1.0)
            case "held":
                self.holding.set()
                assert self.let_go.wait(PATIENCE)
        return [item % int(version[1:]) for item in items]


class Shop:
    """A responder in a thread, with up to four requests at a time, and its topics."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.world = World(settings, folder)
        self.server = Server()
        self._stop = threading.Event()
        self._thread = threading.Thread()

    def start(self) -> None:
        self._stop.clear()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def close(self) -> None:
        self.server.let_go.set()
        if self._thread.is_alive():
            self.stop()
        self.world.close()

    def _serve(self) -> None:
        settings = self.world.settings
        with Follower(settings, [models.MODEL], self.server.make_so, worker="bento-1") as follower:
            Responder(settings, follower, models.MODEL, self.server.score, concurrency=4).run(self._stop)

    def answers(self, *request_ids: str) -> dict[str, Prediction]:
        """Waits for them."""
        self.world.flush()
        return {one.request_id: one for one in self.world.await_answers(request_ids)}

    def committed(self) -> int:
        """The requests that no successor would read."""
        settings = self.world.settings
        name = topics.REQUESTS.full_name(settings.topics)
        places = [TopicPartition(name, partition) for partition in range(settings.topics.partitions)]
        group = group_of(settings, [models.MODEL])
        found = offsets.committed(settings.kafka.librdkafka(), group, places, PATIENCE)
        return sum(max(0, place.offset) for place in found.values())


@pytest.fixture
def shop(stack: SharedStack, tmp_path: Path) -> Iterator[Shop]:
    made = Shop(isolated(stack.settings), tmp_path)
    yield made
    made.close()


def test_an_answer_is_ranked_shown_and_told_as_a_worker_of_headgate_tells_it(shop: Shop) -> None:
    shop.world.release(3, "v10")
    shop.start()
    shop.world.request("r1", [12, 7, 19, 2, 9], k=3)
    shop.world.request("r2", [1, 2])
    answers = shop.answers("r1", "r2")
    first = answers["r1"]
    assert (first.status, first.version, first.arm, first.generation) == ("ok", "v10", "stable", 3)
    assert (first.items, first.scores, first.shown) == ([19, 9, 7, 12, 2], [9, 9, 7, 2, 2], 3)
    assert first.worker == "bento-1"
    assert answers["r2"].shown == 2
    assert first.queue_ms is not None
    assert first.infer_ms is not None
    assert 0 <= first.queue_ms + first.infer_ms <= first.latency_ms + 0.01


def test_a_fault_is_that_of_one_request(shop: Shop) -> None:
    shop.world.release(1, "v10")
    shop.start()
    for name in ("raises", "short", "nan"):
        shop.world.request(name)
    shop.world.request("empty", [])
    shop.world.request("late", deadline_ms=0)
    shop.world.write(topics.REQUESTS, "bad", b'{"request_id": 7')
    shop.world.write(topics.REQUESTS, "again", b"{}", [(ORIGIN, b"inference.requests/0/1")])
    shop.world.request("other", model="somebody else's")
    shop.world.request("good")
    answers = shop.answers("raises", "short", "nan", "empty", "late", "good")
    said = {name: (one.status, one.error) for name, one in answers.items()}
    assert said == {
        "raises": ("error", "v10: the server is away"),
        "short": ("error", "v10: found 1 scores, expected 3, one an item"),
        "nan": ("error", "v10: found a score that is not a finite number"),
        "empty": ("error", "v10: items: found none, expected at least one candidate"),
        "late": ("timeout", "older than its deadline_ms of 0"),
        "good": ("ok", None),
    }
    letters = until(shop.world.dead_letters)
    assert [letter.key for letter in letters] == ["bad"]


def test_arms_are_dealt_out_by_user_and_a_shadow_answers_beside(shop: Shop) -> None:
    shop.world.release(1, "v7", candidate="v5", weight=0.5, salt=SALT, shadow="v3", phase="canary")
    shop.start()
    names = [f"r{n}" for n in range(24)]
    for n, name in enumerate(names):
        shop.world.request(name, user=f"u{n}")
    shop.answers(*names)
    found = until(lambda: all_ if len(all_ := shop.world.predictions()) == 2 * len(names) else [])
    shown = {one.request_id: one.version for one in found if one.arm != "shadow"}
    assert shown == {f"r{n}": "v5" if is_candidate(SALT, f"u{n}", 0.5) else "v7" for n in range(24)}
    assert set(shown.values()) == {"v5", "v7"}
    assert [one.version for one in found if one.arm == "shadow"] == ["v3"] * len(names)


def test_a_slow_request_holds_up_no_other_and_a_successor_would_begin_with_it(shop: Shop) -> None:
    shop.world.release(1, "v10")
    shop.start()
    shop.world.request("held")
    shop.world.flush()
    assert shop.server.holding.wait(PATIENCE)
    names = [f"r{n}" for n in range(12)]
    for name in names:
        shop.world.request(name)
    assert shop.answers(*names).keys() == set(names)
    time.sleep(3 * SETTLE)
    assert shop.committed() == 0
    shop.server.let_go.set()
    shop.answers("held")
    assert until(lambda: shop.committed() == 1 + len(names))


def test_requests_wait_for_a_first_release_and_whoever_takes_over_begins_where_the_last_one_ended(
    shop: Shop,
) -> None:
    shop.world.request("r1")
    shop.start()
    time.sleep(1.0)
    assert shop.world.predictions() == []
    shop.world.release(1, "v10")
    shop.answers("r1")
    shop.stop()
    shop.world.request("r2")
    shop.start()
    shop.answers("r1", "r2")
    assert sorted(one.request_id for one in shop.world.predictions()) == ["r1", "r2"]


def test_a_broker_that_is_away_loses_no_request(kafka: Kafka, tmp_path: Path) -> None:
    there = msgspec.structs.replace(Settings().kafka, brokers=kafka.brokers)
    shop = Shop(msgspec.structs.replace(Settings(), kafka=there), tmp_path)
    try:
        shop.world.release(1, "v10")
        shop.start()
        names = [f"slow{n}" for n in range(12)]
        for name in names:
            shop.world.request(name)
        shop.answers("slow0")
        kafka.kill()  # with answers on their way
        time.sleep(2.0)
        kafka.start()
        assert {one.status for one in shop.answers(*names).values()} == {"ok"}
    finally:
        shop.close()


def test_what_makes_the_follower_give_up_ends_the_responder_too(stack: SharedStack) -> None:
    settings = isolated(stack.settings)
    server = Server()
    with Follower(settings, [models.MODEL], server.make_so) as follower:
        responder = Responder(settings, follower, models.MODEL, server.score)
        with pytest.raises(Exception, match=r"control\.releases"):
            responder.run(threading.Event())
