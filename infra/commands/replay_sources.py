"""Where `headgate replay` has its events from: files of lines, or the real topics. Each gives what is known
beforehand, and the blocks of records.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from infra.commands import kafka as broker
from schemas import signing, topics
from schemas.policies import Policy, default
from schemas.settings import Settings
from schemas.timeline import BEGINNING
from streams.join.passage import SETTLING
from streams.replay import files, kafka
from streams.replay.ahead import ahead
from streams.replay.block import Block, Single
from streams.replay.foresight import look_through
from streams.replay.kafka import Log, Span
from streams.replay.known import Known
from streams.replay.policies import Policies
from streams.replay.recording import Recording

TOLERANCE = 300_000
"""How far (ms) records may be out of the order of time where no broker has stamped them; four minutes of it
for sure.
"""


class Events(NamedTuple):
    """What is known beforehand, and the records."""

    known: Known
    blocks: Iterator[Block]


@contextmanager
def recorded(
    names: list[str], settings: Settings, policies: list[Policy], partitions: int | None
) -> Iterator[Events]:
    """The lines of files, one after the other. Raises `HeadgateError` for what is no recording."""
    files.check(names)
    prefix = settings.topics.prefix
    known = Known(policies=policies, count=partitions, settling=TOLERANCE)
    if files.STDIN not in names:  # it can be read once only
        found = look_through((files.read(name) for name in names), prefix)
        known = Known(
            policies=policies,
            foreseen=found.policies,
            profiles=found.profiles,
            acknowledged=found.acknowledged,
            count=partitions,
            settling=TOLERANCE,
        )
    recording = Recording(prefix, partitions)
    lines = (each for name in names for each in files.read(name))
    yield Events(known, ahead(recording.blocks(recording.drafts(lines))))


@contextmanager
def live(settings: Settings, policies: list[Policy], span: Span) -> Iterator[Events]:
    """The real topics. Of a span that begins somewhere, what is before it is read as far as its first panes
    rest on it.
    """
    needed = (*kafka.READ, topics.POLICIES, topics.PROFILES, topics.RELEASES)
    with broker.connected(settings, *needed):
        laid_out = kafka.layouts(settings)
        control = kafka.control(settings)
        stamped = all(laid_out[topic].log_append_time for topic in topics.EVENTS)
        known = Known(
            policies=policies,
            foreseen=control.policies,
            profiles=control.profiles,
            count=laid_out[topics.REQUESTS].partitions,
            settling=SETTLING if stamped else TOLERANCE,
            since=BEGINNING if span.since is None else span.since,
            keys=signing.keyring(settings.signing),
        )
        lead = 0 if span.since is None else _lead(policies, control.policies)
        widened = span._replace(since=None if span.since is None else span.since - lead)
        log = Log(settings, widened, control, laid_out)
        try:
            yield Events(known, ahead(log.blocks()))
        finally:
            log.close()


def _lead(instead: list[Policy], found: list[Single]) -> int:
    """How long before a pane (ms) the records begin that it rests on."""
    policies = Policies(instead)
    policies.foresee(found)
    timeline = policies.joined
    every = [entry.policy for model in timeline.models() for entry in timeline.entries(model)]
    return max(policy.deadline(0) for policy in [*every, default("")])
