"""What the judge writes of a running release is what the sink reads: two descriptions of one record."""

import msgspec
import pytest

from schemas.records import ENCODER, Codec, Evidence
from streams.judge.releases.checkpoint import Checkpoint
from tests.taping import TapedWorld

RELEASE = {
    "steps": [{"weight": 0.5, "for": "1h"}],
    "min_samples": 500,
    "guardrails": [{"metric": "ctr", "worse_by": 0.5}, {"metric": "error_rate", "above": 0.05}],
    "success": {"metric": "ctr", "better_by": -0.1},
    "timeout": "1000s",
    "ack_deadline": "2s",
}


@pytest.fixture(scope="module")
def written() -> Checkpoint:
    """What a judge has written after half a minute of a release of v2 against v1."""
    made = TapedWorld({"release": RELEASE}, 0)
    made.command("start", "v1")
    made.seconds(5, {"v1": 0.1})
    made.command("start", "v2")
    made.seconds(30, {"v1": 0.1, "v2": 0.1})
    checkpoint: Checkpoint = made.written["ranker"]
    return checkpoint


@pytest.fixture(scope="module")
def read(written: Checkpoint) -> Evidence:
    codec: Codec[Evidence] = Codec(Evidence)
    return codec.decode(ENCODER.encode(written))


def test_every_test_of_a_look_is_read(written: Checkpoint, read: Evidence) -> None:
    assert written.outlook is not None
    assert read.outlook is not None
    told = written.outlook.context["findings"]
    assert len(told) == 4
    for finding, expected in zip(read.outlook.context.findings, told, strict=True):
        fields = msgspec.to_builtins(finding)
        assert fields == {name: value for name, value in expected.items() if fields.get(name) == value}
        assert {"effect", "lower", "upper"} <= fields.keys() or finding.state != "open"


def test_the_generation_of_a_look_is_the_last_decisions(written: Checkpoint, read: Evidence) -> None:
    assert read.history[-1].generation == written.history[-1].generation == 2


def test_the_judged_version_stands_before_the_reference(read: Evidence) -> None:
    assert read.outlook is not None
    ctr = read.outlook.context.findings[0]
    assert [ctr.of(0)[0], ctr.of(1)[0]] == ["v2", "v1"]
    assert ctr.samples == {version: samples for version, _, samples in (ctr.of(0), ctr.of(1))}


def test_each_test_but_the_sample_ratio_has_a_limit_and_a_side(read: Evidence) -> None:
    assert read.outlook is not None
    found = [(each.limit, each.fails, each.passes) for each in read.outlook.context.findings]
    assert found == [
        (-0.5, "below", ""),
        (0.05, "above", ""),
        (pytest.approx(-0.1), "", "above"),
        (None, "", ""),
    ]
