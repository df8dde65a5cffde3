"""A stage that keeps nothing and says nothing: what measured stages start from."""

from collections.abc import Collection, Mapping, Sequence

from schemas import topics
from schemas.topics import Topic
from streams.columns import Records
from streams.stage import Assigned, Committed, Reading, TopicPartition


class Passive:
    """Takes the three event topics, and does nothing with them."""

    name = "passive"
    topics: Sequence[Topic] = topics.EVENTS

    def assigned(self, partitions: Mapping[TopicPartition, Assigned]) -> None:
        """Nothing depends on where it starts."""

    def revoked(self, partitions: Collection[TopicPartition]) -> None:
        """Nobody else is in the group."""

    async def process(self, partition: TopicPartition, records: Records) -> None:
        """For others to say."""

    async def tick(self, readings: Mapping[TopicPartition, Reading], now: int) -> None:
        """Nothing to do by the clock."""

    def held(self) -> Collection[TopicPartition]:
        """Whatever comes is welcome."""
        return ()

    def vitals(self) -> Mapping[str, float]:
        """Nobody asks."""
        return {}

    def safe(self, partition: TopicPartition) -> Committed | None:
        """Nothing is committed."""
        return None

    async def close(self) -> None:
        """Nothing is left."""
