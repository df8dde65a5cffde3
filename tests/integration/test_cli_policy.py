"""`headgate policy` on a real broker: what is published is what every reader gets, and when."""

from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from infra.topics import create
from schemas import policies, topics
from schemas.settings import Settings
from schemas.timeline import Timeline
from streams.log import Follower, Output
from tests.integration.headgate_command import Headgate


@pytest.fixture(scope="module")
def headgate(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Headgate:
    create(settings, forever=True)
    return Headgate(settings, tmp_path_factory.mktemp("headgate"))


@pytest.fixture
def model() -> str:
    """A model that no other test has."""
    return f"ranker-{uuid4().hex[:8]}"


def followed(settings: Settings) -> Timeline:
    """What a stage or worker makes of the log."""
    timeline, follower = Timeline(), Follower(settings, topics.POLICIES)
    try:
        for entry in follower.refresh():
            timeline.read(entry.value, entry.timestamp)
    finally:
        follower.close()
    return timeline


def test_an_applied_policy_is_what_stages_and_workers_follow(
    headgate: Headgate, settings: Settings, model: str
) -> None:
    file = headgate.file(
        "p.yaml", f"model: {model}\npane: 30s\nrules:\n- {{name: a, metric: ctr, below: 0.1}}\n"
    )
    done = headgate("policy", "apply", file)
    assert (done.status, done.err) == (0, "")
    assert done.out == f"{model}: published, in force from the beginning (the model's first)\n"
    rule = {"name": "a", "metric": "ctr", "below": 0.1}
    assert followed(settings).latest(model) == policies.parse(
        {"model": model, "pane": "30s", "rules": [rule]}
    )


def test_a_second_policy_is_told_from_when_it_holds(
    headgate: Headgate, settings: Settings, model: str
) -> None:
    headgate("policy", "apply", headgate.file("p.yaml", f"model: {model}\n"))
    done = headgate("policy", "apply", "--json", headgate.file("p.yaml", f"model: {model}\nslow_ms: 50\n"))
    (published,) = done.json
    in_force = followed(settings).entries(model)[-1].start
    assert published["in_force"] == in_force
    assert in_force % 10_000 == 0
    assert in_force - published["published"] >= 15_000
    assert "in force from" in headgate("policy", "show", model).out


def test_show_tells_every_policy_that_a_model_had(headgate: Headgate, model: str) -> None:
    for slow in (10, 20):
        headgate(
            "policy", "apply", "--actor", "ada", headgate.file("p.yaml", f"model: {model}\nslow_ms: {slow}\n")
        )
    first, second = headgate("policy", "show", model, "--json").json
    assert (first["policy"]["slow_ms"], second["policy"]["slow_ms"]) == (10, 20)
    assert (first["in_force"], first["until"]) == (None, second["in_force"])
    assert {first["actor"], second["actor"]} == {"ada"}
    assert model in {one["model"] for one in headgate("policy", "show", "--json").json}


def test_what_show_prints_can_be_applied_again(headgate: Headgate, settings: Settings, model: str) -> None:
    rules = "rules:\n- {name: a, metric: ctr, below: 0.1, for: 30s}\n"
    headgate(
        "policy",
        "apply",
        headgate.file("p.yaml", f"model: {model}\n{rules}release:\n  steps: [{{weight: 0.1}}]\n"),
    )
    before = followed(settings).latest(model)
    shown = headgate("policy", "show", model).out
    assert headgate("policy", "apply", headgate.file("again.yaml", shown)).status == 0
    assert followed(settings).latest(model) == before


def test_of_several_files_all_are_published_or_none(
    headgate: Headgate, settings: Settings, model: str
) -> None:
    sound = headgate.file("sound.yaml", f"model: {model}\n")
    broken = headgate.file("broken.yaml", f"model: {model}-2\npane: 7s\n")
    done = headgate("policy", "apply", sound, broken)
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("broken.yaml:2: found `7s`")
    assert not followed(settings).knows(model)


def test_two_policies_for_one_model_are_refused(headgate: Headgate, settings: Settings, model: str) -> None:
    files = [headgate.file(name, f"model: {model}\n") for name in ("a.yaml", "b.yaml")]
    done = headgate("policy", "apply", *files)
    assert done.status == 1
    assert "found a second policy" in done.err
    assert not followed(settings).knows(model)


def test_a_model_without_a_policy_is_said_to_have_the_defaults(headgate: Headgate, model: str) -> None:
    assert (
        headgate("policy", "show", model).out == f"no policy is published for {model}: it has the defaults\n"
    )
    assert headgate("policy", "show", model, "--json").json == []


def test_without_its_topic_nothing_is_published_and_one_line_says_why(
    settings: Settings, tmp_path: Path
) -> None:
    elsewhere = msgspec.structs.replace(
        settings, topics=msgspec.structs.replace(settings.topics, prefix="nowhere.")
    )
    headgate = Headgate(elsewhere, tmp_path)
    done = headgate("policy", "apply", headgate.file("p.yaml", "model: m\n"))
    assert done.status == 1
    (line,) = done.err.splitlines()
    assert "has no topic nowhere.control.policies" in line
    assert "headgate check" in line


def test_a_record_that_is_no_policy_does_not_hide_the_others(
    headgate: Headgate, settings: Settings, model: str
) -> None:
    headgate("policy", "apply", headgate.file("p.yaml", f"model: {model}\n"))
    output = Output(settings)
    output.send(topics.POLICIES, model, b'{"model": "x"}')
    output.flush()
    done = headgate("policy", "show", model, "--json")
    assert len(done.json) == 1
    assert "control.policies: ts: found nothing" in done.err
