"""A recording's lines: what may stand in them, what is made up where it does not, and what is refused."""

import base64
import gzip
import io
import json
from pathlib import Path

import cramjam
import numpy as np
import pytest

from schemas.errors import HeadgateError
from schemas.topics import FEEDBACK, PREDICTIONS, REQUESTS
from streams.join.murmur import partitions
from streams.replay import files
from streams.replay.block import Block
from streams.replay.known import Known
from streams.replay.recording import Recording
from tests.replaying import Line, line, of_type, replayed

TS = 1_767_225_600_000
CLICK = {"request_id": "r1", "ts": TS, "kind": "click", "item": 7}


def prediction(**fields: object) -> Line:
    plain: Line = {
        "request_id": "r1", "ts": TS, "model": "m", "version": "v1", "arm": "stable", "status": "ok",
        "latency_ms": 3, "items": [7],
    }  # fmt: skip
    return plain | fields


def blocks(data: bytes, count: int | None = None, prefix: str = "") -> list[Block]:
    recording = Recording(prefix, count)
    return list(recording.blocks(recording.drafts(files.lines(io.BytesIO(data), "monday.jsonl"))))


def letters(*lines: bytes, count: int | None = None) -> list[Line]:
    return of_type(replayed(lines, Known(count=count)), "dead_letter")


def value_of(found: list[Line], metric: str) -> float:
    return sum(float(str(each["numerator"])) for each in found if each.get("metric") == metric)


def test_a_line_needs_no_more_than_a_topic_and_a_value() -> None:
    [block] = blocks(line(REQUESTS, {"request_id": "r", "ts": TS, "model": "m"}) + line(FEEDBACK, CLICK))
    first, second = block.pieces
    assert (first.topic, first.partition, first.events[0].offset) == (REQUESTS, 0, 0)
    assert (first.events[0].timestamp, second.events[0].timestamp) == (TS, TS)
    assert (first.ranks.tolist(), second.ranks.tolist(), block.size) == ([0], [1], 2)


def test_what_a_line_says_beside_them_holds() -> None:
    text = line(FEEDBACK, CLICK, timestamp=TS + 5, partition=3, offset=41, key="k", headers={"a": "b"})
    [block] = blocks(text)
    [piece] = block.pieces
    record = piece.events[0]
    assert (piece.partition, record.offset, record.timestamp) == (3, 41, TS + 5)
    assert (record.key, list(record.headers)) == (b"k", [("a", b"b")])


def test_offsets_go_on_behind_the_last_one_of_their_topic_partition() -> None:
    lines = [line(FEEDBACK, CLICK), line(FEEDBACK, CLICK, offset=9), line(FEEDBACK, CLICK)]
    lines.append(line(FEEDBACK, CLICK, partition=1))
    offsets = {p.partition: p.events.offsets.tolist() for p in blocks(b"".join(lines))[0].pieces}
    assert offsets == {0: [0, 9, 10], 1: [0]}


def test_with_a_number_of_partitions_records_stand_where_kafka_would_have_put_them() -> None:
    ids = [f"r{number}" for number in range(20)]
    data = b"".join(line(FEEDBACK, CLICK | {"request_id": name}) for name in ids)
    found = np.empty(20, np.int64)
    for piece in blocks(data, count=4)[0].pieces:
        found[piece.ranks] = piece.partition
    assert found.tolist() == partitions([name.encode() for name in ids], 4).tolist()


def test_a_record_in_a_wrong_partition_is_counted_where_the_number_of_partitions_is_known() -> None:
    wrong = 1 - int(partitions([b"r1"], 2)[0])
    text = line(PREDICTIONS, prediction(), partition=wrong)
    assert value_of(replayed([text], Known(count=2)), "mispartitioned") == 1
    assert value_of(replayed([text]), "mispartitioned") == 0


def test_a_key_that_is_null_is_none_and_one_that_is_absent_is_the_request_id() -> None:
    known = Known(count=1)
    assert value_of(replayed([line(PREDICTIONS, prediction())], known), "mispartitioned") == 0
    assert value_of(replayed([line(PREDICTIONS, prediction(), key=None)], known), "mispartitioned") == 1


def test_lines_may_be_written_in_any_way_that_json_allows() -> None:
    spaced = json.dumps({"value": CLICK, "unknown": [1, {"}": "{"}], "topic": "feedback.events"}, indent=None)
    escaped = spaced.replace("feedback", "\\u0066eedback")
    data = b"\n\r\n  \n" + f" {spaced}\t\r\n{escaped}\n".encode()
    [block] = blocks(data)
    assert block.pieces[0].events.scanned.rows["fault"].tolist() == [0, 0]


def test_topics_may_have_the_configured_prefix() -> None:
    text = line(FEEDBACK, CLICK)
    [block] = blocks(text.replace(b"feedback", b"shop.feedback") + text, prefix="shop.")
    assert len(block.pieces[0].events) == 2


def test_a_value_that_is_no_record_is_a_dead_letter_as_live() -> None:
    [letter] = letters(line(FEEDBACK, CLICK), line(FEEDBACK, {"request_id": "r1", "ts": TS}))
    assert (letter["stage"], letter["topic"], letter["partition"], letter["offset"]) == (
        "join", "feedback.events", 0, 1,
    )  # fmt: skip
    assert letter["ts"] == TS
    assert "kind" in str(letter["reason"])
    assert base64.b64decode(str(letter["value"])) == b'{"request_id": "r1", "ts": %d}' % TS


@pytest.mark.parametrize("value", [None, [], "text", 3])
def test_values_other_than_objects_are_dead_letters(value: object) -> None:
    assert len(letters(line(FEEDBACK, value))) == 1


def test_bytes_that_are_no_json_stand_in_base64() -> None:
    bad = base64.b64encode(b"\xff{").decode()
    text = b'{"topic": "feedback.events", "value_base64": "%b"}\n' % bad.encode()
    [letter] = letters(text)
    assert letter["value"] == bad


def test_bad_commands_and_samples_are_dead_letters_too() -> None:
    lines = [
        b'{"topic": "control.commands", "value": {"model": "m"}}\n',
        b'{"topic": "metrics.samples", "value": {"model": "m"}}\n',
    ]
    assert [(each["stage"], each["topic"]) for each in letters(*lines)] == [
        ("judge", "control.commands"),
        ("sink", "metrics.samples"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"nonsense", "monday.jsonl:2: "),
        (b"[1]", "expected"),
        (b'{"topic": "feedback.events", "value": {"a": nope}}', "monday.jsonl:2: JSON is malformed"),
        (b'{"value": {}}', "topic: found nothing"),
        (b'{"topic": "feedback.events"}', "found none of value and value_base64"),
        (b'{"topic": "feedback.event", "value": {}}', "found the topic 'feedback.event'"),
        (b'{"topic": "feedback.events", "value": {}, "timestamp": -1}', "timestamp: found -1"),
        (b'{"topic": "feedback.events", "value": {}, "offset": "1"}', "offset: found"),
        (b'{"topic": "feedback.events", "value_base64": "?"}', "value_base64"),
        (b'{"topic": "feedback.events", "value": {}', "monday.jsonl:2: "),
    ],
)
def test_a_line_that_is_no_record_is_a_fault_of_the_recording(text: bytes, expected: str) -> None:
    with pytest.raises(HeadgateError, match=r"monday\.jsonl:2: ") as raised:
        blocks(line(FEEDBACK, CLICK) + text + b"\n" + line(FEEDBACK, CLICK))
    assert expected in str(raised.value)


def test_files_may_be_packed(tmp_path: Path) -> None:
    text = line(FEEDBACK, CLICK) * 3
    packed, squeezed, plain = (tmp_path / f"events.jsonl{end}" for end in (".gz", ".zst", ""))
    packed.write_bytes(gzip.compress(text[:100]) + gzip.compress(text[100:]))
    squeezed.write_bytes(bytes(cramjam.zstd.compress(text)))
    plain.write_bytes(text.rstrip())
    for path in (packed, squeezed, plain):
        assert sum(len(each.bounds) for each in files.read(str(path), 64)) == 3


def test_a_file_that_is_not_what_its_suffix_says_is_refused(tmp_path: Path) -> None:
    for end in (".gz", ".zst"):
        path = tmp_path / f"events{end}"
        path.write_bytes(line(FEEDBACK, CLICK))
        with pytest.raises(HeadgateError, match="expected a file of recorded events"):
            list(files.read(str(path)))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(HeadgateError, match="expected a file of recorded events"):
            files.check([str(path)])
