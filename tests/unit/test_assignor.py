"""How partitions are dealt out among the workers of a stage."""

from hypothesis import given
from hypothesis import strategies as st

from streams.transport.assignor import deal

EVENTS = ("feedback", "predictions", "requests")


def owners(shares: dict[str, dict[str, list[int]]]) -> dict[tuple[str, int], str]:
    return {
        (topic, number): member
        for member, share in shares.items()
        for topic, numbers in share.items()
        for number in numbers
    }


def dealt(
    partitions: int, members: list[str], before: dict[tuple[str, int], str]
) -> dict[tuple[str, int], str]:
    counts = dict.fromkeys(EVENTS, partitions)
    return owners(deal(counts, dict.fromkeys(members, EVENTS), before))


some_members = st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=5, unique=True)


@given(st.integers(1, 12), some_members)
def test_every_partition_has_one_owner_and_shares_differ_by_one_at_most(
    partitions: int, members: list[str]
) -> None:
    result = dealt(partitions, members, {})
    assert set(result) == {(topic, number) for topic in EVENTS for number in range(partitions)}
    shares = [sum(owner == member for owner in result.values()) // len(EVENTS) for member in members]
    assert max(shares) - min(shares) <= 1


@given(st.integers(1, 12), some_members, some_members)
def test_a_number_has_the_same_owner_in_all_topics_with_equally_many_partitions(
    partitions: int, first: list[str], then: list[str]
) -> None:
    result = dealt(partitions, then, dealt(partitions, first, {}))
    assert all(len({result[topic, number] for topic in EVENTS}) == 1 for number in range(partitions))


@given(st.integers(1, 12), some_members)
def test_nothing_moves_while_the_members_stay(partitions: int, members: list[str]) -> None:
    before = dealt(partitions, members, {})
    assert dealt(partitions, members, before) == before


@given(st.integers(1, 12), some_members, st.data())
def test_when_a_member_comes_only_its_own_share_moves(
    partitions: int, members: list[str], data: st.DataObject
) -> None:
    before = dealt(partitions, members, {})
    after = dealt(partitions, [*members, "z"], before)
    assert all(after[where] in (before[where], "z") for where in before)


@given(st.integers(1, 12), st.lists(st.sampled_from("abcdefg"), min_size=2, max_size=5, unique=True))
def test_when_a_member_goes_only_its_own_share_moves(partitions: int, members: list[str]) -> None:
    before = dealt(partitions, members, {})
    after = dealt(partitions, members[1:], before)
    assert all(after[where] == owner for where, owner in before.items() if owner != members[0])


def test_topics_with_other_counts_are_dealt_to_those_with_the_least_to_do() -> None:
    shares = deal(
        {"events": 3, "policies": 1}, {"a": ("events", "policies"), "b": ("events", "policies")}, {}
    )
    assert shares == {"a": {"events": [0, 2]}, "b": {"events": [1], "policies": [0]}}


def test_a_topic_goes_only_to_members_that_read_it() -> None:
    shares = deal({"old": 2, "new": 2}, {"a": ("old",), "b": ("old", "new")}, {})
    assert shares["a"] == {"old": [0]} or shares["a"] == {"old": [1]}
    assert shares["b"]["new"] == [0, 1]


def test_a_topic_that_the_cluster_does_not_know_is_left_out() -> None:
    assert deal({"events": 0}, {"a": ("events",)}, {}) == {"a": {}}
