"""The join stage and its control topics on the real broker: which policy shapes the panes of records that are
stamped ahead, and which versions' profiles it knows. Faust is left out: the stage is handed its records here.
"""

import asyncio
import json
import time

import msgspec
import pytest

from infra import topics as admin
from infra.commands.policy_log import published
from schemas import topics
from schemas.errors import HeadgateError
from schemas.records import ENCODER, Codec, Distribution, Pane, PaneRecord, Profile
from schemas.settings import Settings
from streams.columns import Records
from streams.join.stage import STALE, JoinStage
from streams.log import Follower, Output
from streams.stage import Assigned, Reading, TopicPartition
from tests.oracle.log import Raw

PLACES = [TopicPartition(topic.name, 0) for topic in topics.EVENTS]
PANES: Codec[PaneRecord] = Codec(PaneRecord)


class World:
    """A join stage that owns the only source partition, and the log around it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._output = Output(settings)
        self._panes = Follower(settings, topics.PANES)
        self._read = 0
        self._now = _now()
        self._stage = JoinStage(settings)
        self._stage.assigned({place: Assigned(None, 0, 0) for place in PLACES})

    def publish(self, pane: str, *models: str) -> int:
        """Publishes a policy with panes of that length for each model, `ranker` where none is named; answers
        the last one's first instant, 0 for the beginning.
        """
        for model in models or ("ranker",):
            policy = {"model": model, "pane": pane}
            record = {"model": model, "ts": _now(), "actor": "test", "policy": policy}
            self._output.send(topics.POLICIES, model, json.dumps(record).encode())
        self._output.flush()
        return published(self._settings)[-1].in_force or 0

    def describe(self, version: str) -> None:
        """Publishes a reference profile of that version of `ranker`, with one feature, `age`, in two bins."""
        age = Distribution(counts=[1, 1], edges=[18.0])
        profile = Profile(model="ranker", version=version, ts=_now(), features={"age": age})
        self._output.send(topics.PROFILES, f"ranker/{version}", ENCODER.encode(profile))
        self._output.flush()

    async def predict(self, ts: int, model: str = "ranker", version: str = "v1") -> None:
        """The stage reads a prediction of that time."""
        prediction = {
            "request_id": f"r{self._read}", "ts": ts, "model": model, "version": version,
            "arm": "stable", "status": "ok", "latency_ms": 1, "features": {"age": 30},
        }  # fmt: skip
        value = json.dumps(prediction).encode()
        record = Raw(self._read, ts, str(prediction["request_id"]).encode(), value)
        await self._stage.process(TopicPartition(topics.PREDICTIONS.name, 0), Records.of([record]))
        self._read += 1

    async def panes(self) -> list[Pane]:
        """What the stage says in two rounds, in the first of which it announces itself. They are so far apart
        that what it knows of policies is too old each time.
        """
        for _ in range(2):
            self._now = max(self._now, _now()) + STALE
            readings = {}
            for place in PLACES:
                position = self._read if place.topic == topics.PREDICTIONS.name else 0
                readings[place] = Reading(position, position, self._now, self._stage.safe(place))
            await self._stage.tick(readings, self._now)
        return self.said()

    def said(self) -> list[Pane]:
        """The panes that have come in the topic since the last call."""
        records = [PANES.decode(entry.value) for entry in self._panes.refresh()]
        return [record for record in records if isinstance(record, Pane)]

    async def close(self) -> None:
        await self._stage.close()
        self._panes.close()


def _now() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture
def world(settings: Settings, request: pytest.FixtureRequest) -> World:
    """A world of this test's own, in which no policy is published yet."""
    prefix = f"{settings.topics.prefix}{request.node.name[:24]}."
    own = msgspec.structs.replace(settings.topics, prefix=prefix, partitions=1)
    settings = msgspec.structs.replace(settings, topics=own)
    admin.create(settings, forever=True)
    return World(settings)


def test_a_record_ahead_of_the_last_read_is_shaped_by_a_policy_that_has_just_come(world: World) -> None:
    async def scenario() -> list[Pane]:
        world.publish("10s")
        await world.predict(_now())
        start = world.publish("5s")
        await world.predict(start + 7_000)
        panes = await world.panes()
        await world.close()
        return [pane for pane in panes if pane.start >= start]

    assert [pane.end - pane.start for pane in asyncio.run(scenario())] == [5_000]


def test_a_pane_that_a_later_policy_shapes_differently_is_retracted_and_read_again(world: World) -> None:
    async def scenario() -> list[Pane]:
        world.publish("10s")
        await world.predict(_now() + 120_000)
        before = await world.panes()
        world.publish("5s")
        with pytest.raises(HeadgateError, match="starting again"):
            await world.panes()
        after = world.said()
        await world.close()
        return before + after

    before, after = asyncio.run(scenario())
    assert (before.retracted, after.retracted) == (False, True)
    assert (before.start, before.end) == (after.start, after.end)
    assert before.snapshot < after.snapshot


def test_panes_before_a_later_policy_stay_as_they_are(world: World) -> None:
    async def scenario() -> list[Pane]:
        world.publish("10s")
        await world.predict(_now())
        before = await world.panes()
        world.publish("5s")
        after = await world.panes()
        await world.close()
        return before + after

    assert [pane.retracted for pane in asyncio.run(scenario())] == [False]


def test_policies_of_several_models_that_come_together_retract_the_panes_of_each(world: World) -> None:
    async def scenario() -> list[Pane]:
        await world.predict(_now(), "ranker")
        await world.predict(_now(), "detector")
        await world.panes()
        world.publish("5s", "ranker", "detector")
        with pytest.raises(HeadgateError, match="starting again"):
            await world.panes()
        after = world.said()
        await world.close()
        return after

    assert {pane.model for pane in asyncio.run(scenario()) if pane.retracted} == {"ranker", "detector"}


def test_a_version_is_counted_by_the_profile_that_came_before_its_first_prediction(world: World) -> None:
    async def scenario() -> list[Pane]:
        world.publish("10s")
        await world.predict(_now())
        world.describe("v2")
        await world.predict(_now(), version="v2")
        panes = await world.panes()
        await world.close()
        return panes

    found = {pane.version: pane.features for pane in asyncio.run(scenario())}
    assert found == {"v1": {}, "v2": {"age": [0, 1]}}
