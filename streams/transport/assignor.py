"""Which worker of a stage gets which partitions: number by number across topics, evenly, and moving as few as
possible.

Faust's default deals topic partitions out one by one, so that with three workers a request and its prediction
end up apart; Kafka's range assignor keeps them together, but moves nearly everything when a worker joins.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec
from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

Owners = Mapping[tuple[str, int], str]
"""Member by (topic, partition)."""


class CopartitionedAssignor(AbstractPartitionAssignor):  # type: ignore[misc]
    """The group protocol `headgate-copartitioned`: each member says what it has, and the leader deals out
    with `deal`."""

    name = "headgate-copartitioned"
    version = 0

    def __init__(self) -> None:
        self._owned: list[tuple[str, int]] = []

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """What this member tells the leader: its topics, and which partitions it has."""
        return ConsumerProtocolMemberMetadata(self.version, sorted(topics), msgspec.json.encode(self._owned))

    def on_assignment(self, assignment: ConsumerProtocolMemberAssignment) -> None:
        """Remembers what the leader has given to this member."""
        self._owned = [(tp.topic, tp.partition) for tp in assignment.partitions()]

    def assign(
        self, cluster: ClusterMetadata, members: Mapping[str, ConsumerProtocolMemberMetadata]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        """The leader's work: everybody's share."""
        subscriptions = {member: metadata.subscription for member, metadata in members.items()}
        counts = {
            topic: len(cluster.partitions_for_topic(topic) or ())
            for topic in {topic for topics in subscriptions.values() for topic in topics}
        }
        owners = {
            (topic, partition): member
            for member, metadata in sorted(members.items())
            for topic, partition in _claims(metadata.user_data)
        }
        return {
            member: ConsumerProtocolMemberAssignment(self.version, sorted(share.items()), b"")
            for member, share in deal(counts, subscriptions, owners).items()
        }


def _claims(user_data: bytes | None) -> list[tuple[str, int]]:
    try:
        return msgspec.json.decode(user_data or b"[]", type=list[tuple[str, int]])
    except msgspec.DecodeError:
        return []


def deal(
    counts: Mapping[str, int], subscriptions: Mapping[str, Collection[str]], owners: Owners
) -> dict[str, dict[str, list[int]]]:
    """Topics to partition numbers for every member. `counts`: partitions of each topic; `owners`: who has
    what so far.

    Topics with equally many partitions and the same subscribers are dealt as one; of each such group a member
    gets its even share, rounded up or down.
    """
    together: dict[tuple[int, tuple[str, ...]], list[str]] = defaultdict(list)
    for topic, count in sorted(counts.items()):
        subscribers = tuple(sorted(member for member, topics in subscriptions.items() if topic in topics))
        if count:
            together[count, subscribers].append(topic)
    shares: dict[str, dict[str, list[int]]] = {member: {} for member in subscriptions}
    load: Counter[str] = Counter()
    for (count, subscribers), topics in sorted(together.items(), reverse=True):
        previous = {
            number: owner
            for number in range(count)
            if (owner := next((owners[topic, number] for topic in topics if (topic, number) in owners), None))
        }
        for member, numbers in _deal_numbers(count, subscribers, previous, load).items():
            load[member] += len(numbers) * len(topics)
            for topic in topics:
                shares[member][topic] = sorted(numbers)
    return shares


def _deal_numbers(
    count: int, members: Sequence[str], previous: Mapping[int, str], load: Counter[str]
) -> dict[str, list[int]]:
    """The numbers below `count`, evenly over `members`. Those with the least `load` elsewhere get the odd
    ones."""
    floor, odd = divmod(count, len(members))
    kept: dict[str, list[int]] = {member: [] for member in members}
    for number, owner in sorted(previous.items()):
        if owner in kept:
            kept[owner].append(number)
    by_claim = sorted(members, key=lambda member: (-min(len(kept[member]), floor + 1), load[member], member))
    for rank, member in enumerate(by_claim):
        del kept[member][floor + (rank < odd) :]
    taken = {number for numbers in kept.values() for number in numbers}
    for number in range(count):
        if number not in taken:
            poorest = min(members, key=lambda member: (len(kept[member]), load[member], member))
            kept[poorest].append(number)
    return {member: numbers for member, numbers in kept.items() if numbers}
