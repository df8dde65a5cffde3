"""Several workers of one group, one after another and side by side: who has what, and where each goes on."""

import random
import signal
from collections.abc import Callable
from itertools import pairwise

from schemas.settings import Settings
from schemas.topics import PREDICTIONS, REQUESTS, SAMPLES
from tests.integration.transport_world import (
    PARTITIONS,
    Stage,
    committed,
    expected,
    has_read,
    of,
    produce,
    producer,
    read_to_end,
    sums,
)


def test_killed_at_random_moments_a_stage_resumes_exactly_where_it_called_safe(
    own: Settings, start: Callable[..., Stage]
) -> None:
    chance, size, kills = random.Random(7), 150_000, 5
    feed = producer(own)
    fed = 0

    def feed_until(share: float) -> None:
        nonlocal fed
        while fed < size * share:
            for partition in range(PARTITIONS):
                feed.produce(REQUESTS.full_name(own.topics), str(fed), partition=partition)
            fed += 1
            feed.poll(0)
        assert feed.flush(30) == 0

    lives: list[Stage] = []
    for life in range(kills):
        lives.append(start(slow=0.02))
        feed_until((life + 0.5) / kills)
        lives[-1].until(has_read(chance.randrange(1, 60_000)))
        feed_until((life + 1) / kills)
        lives[-1].until(lambda s: bool(s.entries("safe")))
        lives[-1].kill()
    last = start()
    last.until(lambda s: read_to_end(s, *range(PARTITIONS), end=size))
    assert last.stop() == 0

    whole: dict[tuple[str, int, int], set[tuple[int, int]]] = {}
    for partition in range(PARTITIONS):
        whole |= expected(REQUESTS, partition, range(size))
    assert sums(own) == whole
    for life_before, after in pairwise([*lives, last]):
        for partition in range(PARTITIONS):
            told, *given = of(after.entries("assigned", "process"), REQUESTS, partition)
            safe = [entry["offset"] for entry in of(life_before.entries("safe"), REQUESTS, partition)]
            resumed = of(life_before.entries("assigned"), REQUESTS, partition)[0].get("offset", 0)
            assert told.get("offset", 0) in [resumed, *safe]
            assert not given or given[0]["first"] == told.get("offset", 0)


def test_when_a_second_worker_comes_and_goes_what_stays_keeps_its_state_and_is_not_read_again(
    own: Settings, start: Callable[..., Stage]
) -> None:
    for partition in range(PARTITIONS):
        produce(own, range(2_500), partition=partition)
    first = start()
    first.until(lambda s: read_to_end(s, *range(PARTITIONS), end=2_500))
    second = start()
    second.until(lambda s: bool(s.owned()))
    first.until(lambda s: bool(s.entries("revoked")))
    stayed = first.owned()
    assert len(stayed) == len(second.owned()) == PARTITIONS
    assert second.stop() == 0
    first.until(lambda s: len(s.owned()) == 2 * PARTITIONS)
    for partition in range(PARTITIONS):
        produce(own, range(2_500, 5_000), partition=partition)
    first.until(lambda s: read_to_end(s, *range(PARTITIONS), end=5_000))
    for topic, partition in stayed:
        mine = [e for e in first.entries() if (e.get("topic"), e.get("partition")) == (topic, partition)]
        assert [e["what"] for e in mine].count("assigned") == 1
        if topic == REQUESTS.name:
            assert sum(e.get("count", 0) for e in mine) == 5_000


def test_three_workers_have_the_same_numbers_of_topics_with_equally_many_partitions(
    own: Settings, start: Callable[..., Stage]
) -> None:
    workers = [start() for _ in range(3)]

    def settled(_: Stage) -> bool:
        shares = [worker.owned() for worker in workers]
        return sum(map(len, shares)) == 2 * PARTITIONS and all(shares)

    workers[0].until(settled)
    for worker in workers:
        requests, predictions = (
            {number for name, number in worker.owned() if name == topic.name}
            for topic in (REQUESTS, PREDICTIONS)
        )
        assert requests == predictions


def test_a_worker_that_was_away_while_others_had_its_partitions_starts_afresh(
    own: Settings, start: Callable[..., Stage]
) -> None:
    produce(own, range(2_500))
    sleeper = start()
    sleeper.until(lambda s: read_to_end(s, 0, end=2_500))
    sleeper.process.send_signal(signal.SIGSTOP)
    heir = start()
    heir.until(lambda s: len(s.owned()) == 2 * PARTITIONS)
    sleeper.process.send_signal(signal.SIGCONT)
    sleeper.until(lambda s: len(s.entries("revoked")) == 2 * PARTITIONS)
    sleeper.until(lambda s: len(s.owned()) + len(heir.owned()) == 2 * PARTITIONS and bool(s.owned()))


def test_a_worker_for_whom_there_was_no_partition_takes_over_when_the_other_one_dies(
    own: Settings, start: Callable[..., Stage]
) -> None:
    produce(own, range(1_500), topic=SAMPLES)
    workers = [start(reads=SAMPLES.name) for _ in range(2)]

    def one_has_read(_: Stage) -> bool:
        return any(read_to_end(worker, 0, topic=SAMPLES, end=1_500) for worker in workers)

    workers[0].until(one_has_read)
    workers[0].until(lambda _: committed(own, topic=SAMPLES) == 1_000)
    workers.sort(key=lambda worker: len(worker.owned()))
    idle, owner = workers
    owner.kill()
    produce(own, range(1_500, 3_000), topic=SAMPLES)
    idle.until(lambda s: read_to_end(s, 0, topic=SAMPLES, end=3_000))
    assert idle.entries("process")[0]["first"] == 1_000
