"""Sums as text: nothing is lost of them, and what cannot be read is said to be so."""

import base64
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from schemas.records import BUCKETS
from streams.judge.releases.packing import pack, unpack
from streams.metrics.tallies import Floats

COUNTS = arrays(np.float64, BUCKETS, elements=st.integers(0, 1 << 40).map(float))
ANY = arrays(np.float64, BUCKETS, elements=st.floats(allow_nan=False, allow_infinity=False))


@given(st.lists(st.one_of(COUNTS, ANY), max_size=5))
def test_arrays_come_back_to_the_last_bit(several: list[Floats]) -> None:
    found = unpack(pack(several), len(several))
    assert all(np.array_equal(one, other) for one, other in zip(several, found, strict=True))


@pytest.mark.parametrize(
    ("value", "size"), [(0, 129), (255, 129), (256, 257), (65_535, 257), (65_536, 513), (0.5, 1_025)]
)
def test_each_array_takes_the_narrowest_type_that_holds_it(value: float, size: int) -> None:
    packed = pack([np.full(BUCKETS, float(value))])
    assert len(zlib.decompress(base64.b64decode(packed))) == size


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("*", "expected compressed arrays in base64"),
        (base64.b64encode(b"no zlib").decode(), "expected compressed arrays in base64"),
        (base64.b64encode(zlib.compress(b"\x09" + bytes(128))).decode(), "found an array of type 9"),
        (base64.b64encode(zlib.compress(bytes(12))).decode(), "found 12 bytes, expected at least 129"),
        (pack([np.zeros(BUCKETS)] * 2), "found 2 arrays, expected 1"),
    ],
)
def test_what_is_no_array_is_refused(text: str, mistake: str) -> None:
    with pytest.raises(ValueError, match=mistake):
        unpack(text, 1)
