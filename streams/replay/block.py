"""What a source of recorded events hands over: some records of several topics, in the order in which they
came."""

from typing import NamedTuple

from schemas.topics import Topic
from streams.columns import Integers
from streams.join.events import Events
from streams.record import Record


class Piece(NamedTuple):
    """n records of one partition of an event topic, in its order; `ranks`, int64[n], are their places in the
    block, ascending.
    """

    topic: Topic
    partition: int
    events: Events
    ranks: Integers


class Single(NamedTuple):
    """A record of any other topic, and its place in the block."""

    rank: int
    topic: Topic
    partition: int
    record: Record


class Block(NamedTuple):
    """The next `size` records of all topics; each has a place of its own, from 0 on."""

    pieces: list[Piece]
    singles: list[Single]
    size: int
