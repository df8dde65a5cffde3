"""Dynamic batching with Kafka as the only queue, and ragged batches: requests of different lengths run as
one."""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from serving.inputs import Rows

Message = TypeVar("Message")


def collect(
    consume: Callable[[int, float], list[Message]],
    most: int,
    wait: float,
    idle: float,
    age: Callable[[Message], float],
    rest: Callable[[], bool],
) -> list[Message]:
    """The next batch: the first message, waited for `idle` seconds, and what else comes until that one is
    `wait` seconds old and nothing runs any more, `most` in all. `age` says how old a message is (s); `rest`
    waits until no earlier batch runs, and answers whether one did.

    A backlog fills the batch without waiting; a lone request waits for `wait`, or for the run before it: as
    long as that takes nothing is gained by a batch that is closed. What has waited already does not wait
    again.
    """
    batch = consume(1, idle)
    if not batch or most == 1:
        return batch
    batch += consume(most - 1, min(wait, max(0.0, wait - age(batch[0]))))
    if len(batch) < most and rest():
        batch += consume(most - len(batch), 0.0)
    return batch


def join(requests: Sequence[Rows]) -> Rows:
    """The rows of all requests, one below the other."""
    return {name: np.concatenate([rows[name] for rows in requests]) for name in requests[0]}


def split(scores: npt.NDArray[Any], counts: Sequence[int]) -> list[npt.NDArray[Any]]:
    """Each request's scores again, from those of `join`ed rows; `counts` are the requests' rows, in order."""
    ends = list(accumulate(counts))
    return [scores[end - count : end] for count, end in zip(counts, ends, strict=True)]
