"""A partition of one of the contract's topics: what offsets are of. Light to import, for those who need no
stage."""

from typing import NamedTuple


class TopicPartition(NamedTuple):
    """A partition of one of the contract's topics; `topic` is the contract's name, without the configured
    prefix.
    """

    topic: str
    partition: int
