"""What a record of Kafka is to those who take them one by one. Light to import; many together are
`columns.py`'s."""

from collections.abc import Sequence
from typing import Protocol


class Record(Protocol):
    """A record as the Kafka clients hand it over. `timestamp` is Kafka's, in ms."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...
