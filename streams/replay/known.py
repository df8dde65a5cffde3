"""What is known of a recording before its first record comes."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from schemas.policies import Policy
from schemas.records import Profile
from schemas.signing import Keyring
from schemas.timeline import BEGINNING
from streams.join.passage import SETTLING
from streams.replay.block import Single


@dataclass(frozen=True)
class Known:
    """What is known before the first record comes. `policies` are to hold instead of those in the
    recording, `foreseen` and `profiles` are records of `control.policies` and `control.profiles`,
    `acknowledged` the models whose workers' acks are in it (None: it is not known, those that have none so
    far acknowledge at once). `count` is the number of partitions of the event topics, None where it is not
    known. `settling`: topics in which nothing comes pass time so long (ms) after the others. Panes that start
    before `since` (ms) are not known whole, and not told.
    """

    policies: Sequence[Policy] = ()
    foreseen: Sequence[Single] = ()
    profiles: Sequence[Profile] = ()
    acknowledged: frozenset[str] | None = None
    count: int | None = None
    settling: int = SETTLING
    since: int = BEGINNING
    unfinal: bool = False
    keys: Keyring = field(default_factory=Keyring)
