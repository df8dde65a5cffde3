"""Where the judge's inputs stand when they are assigned, and what one judge tells the next in the metadata of
its commits.
"""

import msgspec

from schemas.timeline import BEGINNING
from streams.stage import Assigned


class Note(msgspec.Struct, omit_defaults=True):
    """What a commit of `metrics.panes` or `metrics.samples` says to a successor: from event time `floor` on
    these are whole, and alerts of records below offset `done` are written. What the change detectors must
    know of `metrics.drift` has been written from wall time `since` (ms) on.
    """

    floor: int = BEGINNING
    done: int = 0
    since: int = 0


def read(standing: Assigned | None) -> Note:
    """The predecessor's note; nothing is known where there is none, or it cannot be read."""
    if standing is None or standing.committed is None:
        return Note()
    try:
        return msgspec.json.decode(standing.committed.metadata, type=Note)
    except msgspec.DecodeError:
        return Note()


def first(standing: Assigned) -> int:
    """The offset at which reading starts."""
    return standing.start if standing.committed is None else max(standing.committed.offset, standing.start)


def cut(standing: Assigned) -> bool:
    """Whether the log begins in the midst of what is needed."""
    return standing.start > (0 if standing.committed is None else standing.committed.offset)
