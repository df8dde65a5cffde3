"""The scanners of the event topics: what of a record becomes which column, and what is left to msgspec."""

import json
import subprocess
import sys

import numpy as np
import pytest

from schemas import topics
from schemas.records import ENCODER
from schemas.topics import Topic
from streams.columns import Records, Row
from streams.join.grammar import END, MEMBERS, NUMBER, STRING, next_member
from streams.join.murmur import partitions
from streams.join.numbers import number
from streams.join.scan import scan_feedback, scan_predictions, scan_requests
from streams.join.text import hash_of, mix, text, text_hash
from tests.oracle.log import partition_of
from tests.scanning import NOON, SCANS, array, batch, check

GOOD: dict[Topic, dict[str, object]] = {
    topics.REQUESTS: {"request_id": "r", "ts": NOON, "model": "ranker"},
    topics.PREDICTIONS: {
        "request_id": "r", "ts": NOON, "model": "ranker", "version": "v1", "arm": "stable", "status": "ok",
        "latency_ms": 1,
    },
    topics.FEEDBACK: {"request_id": "r", "ts": NOON, "kind": "click"},
}  # fmt: skip

each_topic = pytest.mark.parametrize("topic", SCANS, ids=lambda topic: topic.name)


def value(topic: Topic, **fields: object) -> bytes:
    """A good record of the topic, with these fields too."""
    return json.dumps(GOOD[topic] | fields).encode()


def prediction(**fields: object) -> bytes:
    return value(topics.PREDICTIONS, **fields)


@each_topic
def test_an_empty_batch_has_no_rows(topic: Topic) -> None:
    assert len(SCANS[topic](batch([])).rows) == 0


@each_topic
def test_what_is_no_event_has_a_fault_and_a_reason_and_leaves_its_neighbours_alone(topic: Topic) -> None:
    bad = [None, b"", b"{", b"[1]", b"null", b"\xff", b"\0\0\0\0\1", b"\0\0\0\0\1avro", b"{}", b"[" * 100_000]
    values = [each for one in bad for each in (one, value(topic))]
    scanned = SCANS[topic](batch(values))
    assert scanned.rows["fault"].tolist() == [1, 0] * len(bad)
    assert sorted(scanned.reasons) == list(range(0, len(values), 2))
    assert scanned.reasons[0] == "value: found null, expected a JSON object"
    assert set(scanned.rows["id"][1::2].tolist()) == {hash_of("r")}


@each_topic
def test_json_behind_confluent_framing_is_read(topic: Topic) -> None:
    assert check(topic, [b"\0\0\0\0\7" + value(topic)]) == 1


@each_topic
def test_escapes_of_any_kind_mean_the_same_text(topic: Topic) -> None:
    plain, escaped = (
        json.dumps(GOOD[topic] | {"request_id": "né/\"'\t"}, ensure_ascii=e) for e in (False, True)
    )
    values = [
        each.encode()
        for each in (plain, escaped, escaped.replace("/", "\\/"), escaped.replace("r", "\\u0072"))
    ]
    scanned = SCANS[topic](batch([*values]))
    assert scanned.rows["id"].tolist() == [hash_of("né/\"'\t")] * 4
    assert scanned.rows["place"].tolist() == [partition_of("né/\"'\t".encode(), 1 << 31)] * 4


@each_topic
def test_of_a_field_that_is_there_twice_the_last_counts_and_both_must_be_sound(topic: Topic) -> None:
    body = value(topic)[:-1]
    assert (
        check(
            topic,
            [body + b', "ts": %d}' % (NOON + 1), body + b', "ts": "x"}', b'{"ts": null, ' + body[1:] + b"}"],
        )
        == 1
    )


@each_topic
def test_a_time_of_up_to_a_day_after_the_kafka_timestamp_stands(topic: Topic) -> None:
    day = 86_400_000
    scanned = SCANS[topic](batch([value(topic, ts=NOON + day), value(topic, ts=NOON + day + 1)]))
    assert scanned.rows["fault"].tolist() == [0, 1]
    assert scanned.reasons[1].startswith(f"ts: found {NOON + day + 1}, expected at most a day after")


def test_integers_and_strings_are_the_same_item_and_user_where_their_text_is() -> None:
    requests = scan_requests(
        batch([value(topics.REQUESTS, user=user) for user in (7, "7", None, "", 10**30)])
    )
    assert requests.rows["user"].tolist() == [
        hash_of("7"),
        hash_of("7"),
        0,
        hash_of(""),
        hash_of(str(10**30)),
    ]
    predictions = scan_predictions(batch([prediction(items=[7, "7", -7, 2**70])]))
    assert predictions.items.tolist() == [hash_of("7"), hash_of("7"), hash_of("-7"), hash_of(str(2**70))]


def test_minus_zero_is_the_item_zero() -> None:
    scanned = scan_feedback(batch([value(topics.FEEDBACK)[:-1] + b', "item": -0}']))
    assert scanned.rows["item"][0] == hash_of("0")


def test_items_and_scores_lie_behind_one_another_whatever_path_their_record_took() -> None:
    values = [
        prediction(items=[1, 2], scores=[0.5, 0.25]),
        prediction(items=[3], error="\u00e9"),
        prediction(items=["x", 1]).replace(b'"x"', b'"\\u0078"'),
        prediction(scores=[1e-7, 12345678901234567890123]),
        prediction(),
        b"{",
        prediction(items=[], scores=[]),
        prediction(items=[4], scores=[1]),
    ]
    scanned = scan_predictions(batch(values))
    assert scanned.rows["fault"].tolist() == [0, 0, 0, 0, 0, 1, 0, 0]
    assert scanned.rows["length"].tolist() == [2, 1, 2, 2, 0, 0, 0, 1]
    assert scanned.rows["has_items"].tolist() == [1, 1, 1, 0, 0, 0, 1, 1]
    assert scanned.rows["has_scores"].tolist() == [1, 0, 0, 1, 0, 0, 1, 1]
    ranges = [range(row["first"], row["first"] + row["length"]) for row in scanned.rows]
    assert sorted(place for each in ranges for place in each) == list(range(8))
    assert check(topics.PREDICTIONS, [*values]) == 7


@pytest.mark.parametrize("name", ["scores", "propensities"])
def test_lists_of_different_lengths_are_no_prediction(name: str) -> None:
    scanned = scan_predictions(batch([prediction(items=[1, 2], **{name: [0.5]})]))
    assert scanned.reasons == {0: f"{name}: found 1 values, expected one for each of 2 items"}


def test_a_thousand_items_and_a_thousand_features_are_read() -> None:
    many: dict[str, object] = {f"f{n}": n / 7 for n in range(MEMBERS + 500)}
    assert (
        check(topics.PREDICTIONS, [prediction(items=list(range(1000)), scores=[0.1] * 1000, features=many)])
        == 1
    )


def test_features_keep_every_type_and_of_a_name_that_is_there_twice_the_last_value() -> None:
    body = value(topics.REQUESTS)[:-1]
    odd = body + b', "features": {"a": 1, "b": null, "a": "x", "c": true, "d": -1.5e-3, "e": false}}'
    assert check(topics.REQUESTS, [odd, odd.replace(b'"a": "x"', b'"z": "x"')]) == 2


def test_names_that_differ_in_their_escapes_alone_are_one() -> None:
    body = value(topics.REQUESTS)[:-1]
    scanned = scan_requests(batch([body + b', "segments": {"a/": "1", "a\\/": "2"}}']))
    start = int(scanned.rows[0]["segments_start"])
    name_start, name_end, kind, value_start, value_end, position = next_member(scanned.data, start)
    assert (text(scanned.data, name_start, name_end), kind) == ("a/", STRING)
    assert text(scanned.data, value_start, value_end) == "2"
    assert next_member(scanned.data, position)[2] == END


def test_members_come_in_their_order_with_white_space_anywhere() -> None:
    data = array(' { "a" :\t1 ,\n"b":"x" } ')
    assert next_member(data, 1)[2] == NUMBER
    name_start, name_end, kind, value_start, value_end, position = next_member(data, next_member(data, 1)[5])
    assert (text(data, name_start, name_end), kind, text(data, value_start, value_end)) == ("b", STRING, "x")
    assert next_member(data, position)[2] == END
    assert next_member(array("{ }"), 0)[2] == END


@pytest.mark.parametrize("depth", [31, 33, 500])
@each_topic
def test_unknown_fields_may_be_nested_more_deeply_than_the_scanner_goes(topic: Topic, depth: int) -> None:
    nested = b'{"x": %b, ' % (b"[" * depth + b"]" * depth)
    assert check(topic, [nested + value(topic)[1:]]) == 1


def test_raw_inputs_that_are_no_utf_8_are_not_our_business() -> None:
    body = value(topics.REQUESTS)[:-1]
    assert (
        check(topics.REQUESTS, [body + b', "inputs": {"x": "\xff"}}', body + b', "inputs": {"x": 1e999}}'])
        == 2
    )


def test_records_may_lie_anywhere_in_the_data_and_come_in_slices() -> None:
    records = batch([value(topics.FEEDBACK, item=item) for item in range(10)])
    assert scan_feedback(records[3:7]).rows["item"].tolist() == [hash_of(str(item)) for item in range(3, 7)]


def test_a_batch_that_ends_with_its_data_is_read_no_further() -> None:
    """Each prefix of a record stands alone, at the very end of an array."""
    whole = prediction(items=[1, "b"], scores=[0.5, 1], features={"a": 1}, user="u")
    for end in range(len(whole)):
        assert scan_predictions(batch([whole[:end]])).rows["fault"].tolist() == [1]


def test_positions_are_those_of_the_text_in_the_data() -> None:
    scanned = scan_predictions(Records.of([Row(0, NOON, b"some key", prediction(surface="home"), ())]))
    row = scanned.rows[0]
    assert text(scanned.data, row["model_start"], row["model_end"]) == "ranker"
    assert text(scanned.data, row["version_start"], row["version_end"]) == "v1"
    assert text(scanned.data, row["surface_start"], row["surface_end"]) == "home"
    assert row["features_start"] == row["segments_start"] == -1


@pytest.mark.parametrize(
    "written",
    [
        "0", "-0.0", "1", "0.1", "1e22", "1e23", "8.5e22", "9007199254740993", "123456789012345678.9",
        "5e-324",
        "2.4703282292062327e-324", "2.4703282292062328e-324", "2.2250738585072011e-308",
        "2.2250738585072014e-308", "1.7976931348623157e308", "1.7976931348623159e308", "6.6312368714e-310",
        "9223372036854775807", "0.000000000000000000000000000000012345678901234567", "1E5", "1.5e+3",
    ],
)  # fmt: skip
def test_a_number_is_rounded_as_python_rounds_it(written: str) -> None:
    assert number(array(written), 0, len(written)) == float(written)


@pytest.mark.parametrize(
    "written", ["", "-", "01", "1.", ".5", "1e", "+1", "1x", "NaN", "12345678901234567890.5"]
)
def test_what_is_no_number_is_not_a_number(written: str) -> None:
    assert np.isnan(number(array(written), 0, len(written)))


def test_the_hash_of_a_text_is_that_of_its_json() -> None:
    for each in (
        "",
        "a",
        "seven77",
        "eight888",
        "sixteen bytes ..",
        "seventeen bytes..",
        'é\n"\\',
        "x" * 1000,
    ):
        written = np.frombuffer(ENCODER.encode(each), np.uint8)
        assert text_hash(written, 1, len(written) - 1) == hash_of(each)


def test_hashes_are_the_same_in_every_process() -> None:
    command = "from streams.join.text import hash_of; print(hash_of('ranker'))"
    other = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert int(other.stdout) == hash_of("ranker")


def test_a_bit_of_the_text_turns_half_the_bits_of_its_hash() -> None:
    rng = np.random.default_rng(0)
    for length in (1, 3, 4, 8, 16, 17, 40):
        turned = []
        for _ in range(200):
            data = rng.integers(0, 256, length, np.uint8)
            before = int(text_hash(data, 0, length))
            data[rng.integers(length)] ^= 1 << int(rng.integers(8))
            turned.append((before ^ int(text_hash(data, 0, length))).bit_count())
        assert 30 < np.mean(turned) < 34
        assert min(turned) > 8


def test_short_texts_have_hashes_of_their_own_and_their_low_bits_are_even() -> None:
    hashes = np.array([hash_of(f"user-{number}") for number in range(100_000)], np.uint64)
    assert len(np.unique(hashes)) == len(hashes)
    buckets = np.bincount((hashes % np.uint64(128)).astype(np.int64), minlength=128)
    expected = len(hashes) / 128
    assert ((buckets - expected) ** 2 / expected).sum() < 200  # chi-squared, 127 degrees: below 181 in 99.9 %


def test_mixing_heeds_the_order_and_both_hashes() -> None:
    one, two, three = (np.uint64(hash_of(each)) for each in "abc")
    mixed = [int(mix(a, b)) for a in (one, two, three) for b in (one, two, three)]
    assert len(set(mixed)) == 9
    assert 0 not in mixed


def test_partitions_are_those_of_kafkas_own_partitioner() -> None:
    keys = [b"", b"a", b"ab", b"abc", b"abcd", b"request-17", "schlüssel".encode(), bytes(range(256))]
    assert partitions(keys, 7).tolist() == [partition_of(key, 7) for key in keys]
    assert partitions([], 7).tolist() == []
