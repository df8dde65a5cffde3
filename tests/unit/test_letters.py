"""Dead letters: what they keep of a record."""

import base64

import pytest

from schemas.records import ENCODER
from streams.letters import dead_letter
from streams.stage import TopicPartition
from tests.oracle.log import Raw

PLACE = TopicPartition("feedback.events", 3)
LARGEST = 1_000_000
"""Bytes of a record that a broker takes with its own settings, less what surrounds key and value."""


def test_a_letter_has_key_and_value_as_they_were() -> None:
    letter = dead_letter("join", PLACE, Raw(7, 0, b"r", b"\xff"), "no JSON", 1)
    assert (letter.key, base64.b64decode(letter.value or "")) == ("r", b"\xff")


@pytest.mark.parametrize("byte", [b"k", b"\xff", b"\0"], ids=["text", "no UTF-8", "escaped in JSON"])
def test_a_letter_about_the_largest_record_fits_where_that_did(byte: bytes) -> None:
    record = Raw(7, 0, LARGEST // 2 * byte, LARGEST // 2 * byte)
    letter = dead_letter("join", PLACE, record, f"found {LARGEST * 'x'}, expected a number", 1)
    assert letter.reason.startswith("found xxx")
    assert len((letter.key or "").encode()) + len(ENCODER.encode(letter)) < LARGEST
