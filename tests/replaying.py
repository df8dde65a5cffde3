"""Recordings for tests, and what a replay makes of them."""

import base64
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import msgspec
import numpy as np

from schemas import policies
from schemas.policies import Policy
from schemas.records import ENCODER, Profile
from schemas.topics import EVENTS, POLICIES, PROFILES, Topic
from streams.replay import files, rows
from streams.replay.core import Replay
from streams.replay.foresight import look_through
from streams.replay.known import Known
from streams.replay.recording import Recording
from tests.oracle.log import Logs, Raw
from tests.oracle.truth import Series
from tests.oracle.views import Row, Value

Line = dict[str, object]


def line(topic: Topic, value: object, **envelope: object) -> bytes:
    """A line of a recording; `envelope` is what it says besides."""
    return json.dumps({"topic": topic.name, "value": value} | envelope).encode() + b"\n"


def policy_line(policy: Policy, ts: int, **envelope: object) -> bytes:
    """A published policy."""
    body = policies.to_object(policy)
    return line(POLICIES, {"model": policy.model, "ts": ts, "policy": body, "actor": "olga"}, **envelope)


def profile_line(profile: Profile) -> bytes:
    """A published profile."""
    return line(PROFILES, msgspec.json.decode(ENCODER.encode(profile)))


def of_raw(topic: Topic, partition: int, raw: Raw) -> bytes:
    """A record of a log as a line that says all of it."""
    envelope: Line = {
        "topic": topic.name,
        "value_base64": None if raw.value is None else base64.b64encode(raw.value).decode(),
        "timestamp": raw.timestamp,
        "partition": partition,
        "offset": raw.offset,
        "key": None if raw.key is None else raw.key.decode(),
        "headers": {name: (value or b"").decode() for name, value in raw.headers},
    }
    if raw.value is None:
        envelope |= {"value": None}
        del envelope["value_base64"]
    elif _is_plain(raw.value):
        del envelope["value_base64"]
        return json.dumps(envelope).encode()[:-1] + b', "value": ' + raw.value + b"}\n"
    return json.dumps(envelope).encode() + b"\n"


def _is_plain(value: bytes) -> bool:
    try:
        return isinstance(json.loads(value), dict)
    except (ValueError, RecursionError):
        return False


def recorded(logs: Logs) -> list[bytes]:
    """Logs as lines, in the order of their Kafka timestamps as far as each partition's own order allows."""
    placed = []
    for topic in EVENTS:
        for partition, raws in logs[topic].items():
            times = np.maximum.accumulate([raw.timestamp for raw in raws]).tolist() if raws else []
            placed += [
                (time, EVENTS.index(topic), partition, raw.offset, of_raw(topic, partition, raw))
                for time, raw in zip(times, raws, strict=True)
            ]
    return [each[-1] for each in sorted(placed, key=lambda each: each[:-1])]


def output(lines: Iterable[bytes], known: Known | None = None, size: int = files.SIZE) -> bytes:
    """All that a replay prints of these lines, read in pieces of `size` bytes; `known`, but for what the
    lines say themselves."""
    data = b"".join(lines)
    known = known or Known()
    foreseen = look_through([files.lines(io.BytesIO(data), "events")], "")
    replay = Replay(
        replace(
            known,
            foreseen=foreseen.policies,
            profiles=foreseen.profiles,
            acknowledged=foreseen.acknowledged,
        )
    )
    recording = Recording("", known.count)
    blocks = recording.blocks(recording.drafts(files.lines(io.BytesIO(data), "events", size)))
    return b"".join(rows.line(each) for outputs in replay.run(blocks) for each in outputs)


def replayed(lines: Iterable[bytes], known: Known | None = None) -> list[Line]:
    """The same as objects."""
    return decoded(output(lines, known))


def decoded(printed: bytes) -> list[Line]:
    """The lines of a replay."""
    return [json.loads(each) for each in printed.splitlines()]


def of_type(found: Sequence[Line], kind: str) -> list[Line]:
    """The lines of one type."""
    return [each for each in found if each["type"] == kind]


def values(found: Iterable[Mapping[str, object]]) -> dict[Row, Value]:
    """The rows of panes as a reader of the view has them: of each the last."""
    read = {}
    for each in found:
        if each["type"] == "pane":
            start = int(np.datetime64(str(each["pane"]), "ms").astype(np.int64))
            series = Series(str(each["model"]), str(each["version"]), str(each["arm"]), "", "", start)
            value, numerator, denominator = (
                None if each[name] is None else float(str(each[name]))
                for name in ("value", "numerator", "denominator")
            )
            row = Row(series, str(each["metric"]))
            read[row] = Value(value, numerator, denominator, bool(each["final"]))
    return read
