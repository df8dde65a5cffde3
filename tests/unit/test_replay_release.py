"""A replay decides releases as the judge would have: from recorded commands, under the recorded policy or
another one."""

import random

from schemas.policies import Policy, parse
from schemas.topics import ACKS, COMMANDS, FEEDBACK, PREDICTIONS, RELEASES
from streams.replay.known import Known
from tests.replaying import Line, line, of_type, policy_line, replayed

START = 1_767_225_600_000
SECOND = 1_000
RATE = 60
"""Predictions a second."""


def policy(**release: object) -> Policy:
    return parse(
        {
            "model": "ranker",
            "pane": "1s",
            "attribution": {"window": "2s", "lateness": "1s"},
            "maturity": "1s",
            "rules": [{"name": "ctr low", "metric": "ctr", "below": 0.15, "window": "2s"}],
            "release": {
                "steps": [{"weight": 0.5, "for": "1h"}],
                "min_samples": 200,
                "guardrails": [{"metric": "ctr", "worse_by": 0.0}],
            }
            | release,
        }
    )


def command(second: int, word: str, version: str | None = None) -> tuple[int, bytes]:
    ts = START + second * SECOND
    value = {"model": "ranker", "ts": ts, "command": word, "command_id": f"c{ts}", "actor": "olga"}
    return ts, line(COMMANDS, value | ({} if version is None else {"version": version}))


def traffic(seconds: int, rates: dict[str, float]) -> list[tuple[int, bytes]]:
    """Predictions of two items by either version in turns, and clicks on their first items."""
    rng, found = random.Random(5), []
    for number in range(seconds * RATE):
        ts = START + number * SECOND // RATE
        version = list(rates)[number % len(rates)]
        prediction = {
            "request_id": f"r{number}", "ts": ts, "model": "ranker", "version": version, "status": "ok",
            "arm": "stable" if version == "v1" else "candidate", "latency_ms": 5, "items": [1, 2],
            "user": f"u{rng.randrange(400)}",
        }  # fmt: skip
        found.append((ts, line(PREDICTIONS, prediction)))
        if rng.random() < 2 * rates[version]:
            click = {"request_id": f"r{number}", "ts": ts + 300, "kind": "click", "item": 1}
            found.append((ts + 300, line(FEEDBACK, click)))
    return found


def recording(seconds: int = 30, *others: tuple[int, bytes]) -> list[bytes]:
    """A canary of v2, which is clicked a tenth as often."""
    lines = [command(0, "start", "v1"), command(2, "start", "v2")]
    lines += traffic(seconds, {"v1": 0.4, "v2": 0.04})
    return [text for _, text in sorted([*lines, *others], key=lambda each: each[0])]


def phases(found: list[Line]) -> list[object]:
    return [each["phase"] for each in of_type(found, "release")]


def test_commands_start_releases_and_a_bad_one_is_rolled_back() -> None:
    found = replayed([policy_line(policy(), START), *recording()])
    assert phases(found) == ["stable", "canary", "rolled_back"]
    last = of_type(found, "release")[-1]
    assert (last["generation"], last["stable"], last["weight"]) == (3, "v1", 0.0)


def test_under_another_policy_than_the_recorded_one_another_decision_is_made() -> None:
    lenient = policy(guardrails=[{"metric": "ctr", "worse_by": 0.99}])
    found = replayed([policy_line(policy(), START), *recording()], Known(policies=[lenient]))
    assert phases(found) == ["stable", "canary"]


def test_a_policy_in_the_midst_of_the_recording_holds_from_the_beginning_if_it_is_the_first() -> None:
    late = (START + 20 * SECOND, policy_line(policy(), START + 20 * SECOND))
    found, expected = replayed(recording(30, late)), replayed([policy_line(policy(), START), *recording()])
    assert of_type(found, "pane") == of_type(expected, "pane")
    assert [each["ts"] for each in of_type(found, "release")] == [
        each["ts"] for each in of_type(expected, "release")
    ]


def test_without_acks_workers_acknowledge_at_once_and_with_them_they_are_waited_for() -> None:
    def acknowledged(second: int, generation: int) -> tuple[int, bytes]:
        ts = START + second * SECOND
        value = {"model": "ranker", "worker": "w", "ts": ts, "kind": "ack", "generation": generation}
        return ts, line(ACKS, value | {"status": "applied"})

    at_once = of_type(replayed([policy_line(policy(), START), *recording()]), "release")[-1]
    acks = [acknowledged(second, 1) for second in range(0, 20, 5)] + [acknowledged(11, 2)]
    waited = of_type(replayed([policy_line(policy(), START), *recording(30, *acks)]), "release")[-1]
    assert at_once["phase"] == waited["phase"] == "rolled_back"
    assert int(str(at_once["ts"])) < START + 11 * SECOND < int(str(waited["ts"]))


def test_releases_that_were_recorded_are_decided_anew() -> None:
    recorded = {
        "model": "ranker", "generation": 2, "ts": START + 3 * SECOND, "stable": "v9", "decision_id": "d",
        "reason": "r",
    }  # fmt: skip
    lines = recording(30, (START + 3 * SECOND, line(RELEASES, recorded)))
    assert replayed([policy_line(policy(), START), *lines]) == replayed(
        [policy_line(policy(), START), *recording()]
    )


def test_a_release_that_stood_when_the_recording_began_goes_on_standing() -> None:
    stood = {
        "model": "ranker", "generation": 7, "ts": START - SECOND, "stable": "v1", "decision_id": "d",
        "reason": "r",
    }  # fmt: skip
    lines = [text for _, text in sorted([command(2, "start", "v2"), *traffic(5, {"v1": 0.4})])]
    found = replayed([policy_line(policy(), START), line(RELEASES, stood), *lines])
    release = of_type(found, "release")[0]
    assert (release["generation"], release["stable"], release["candidate"]) == (8, "v1", "v2")


def test_a_release_that_somebody_forced_holds() -> None:
    forced = {
        "model": "ranker", "generation": 3, "ts": START + 4 * SECOND, "stable": "v1", "decision_id": "d",
        "reason": "it burns", "phase": "rolled_back", "evidence": {"cause": "force"},
    }  # fmt: skip
    lines = recording(30, (START + 4 * SECOND, line(RELEASES, forced)))
    assert phases(replayed([policy_line(policy(), START), *lines])) == ["stable", "canary"]


def test_the_end_of_the_input_fires_no_timers() -> None:
    silent = policy(no_data="1s", timeout="20s")
    lines = [text for _, text in sorted([command(0, "start", "v1"), command(2, "start", "v2")])]
    end = [text for _, text in traffic(4, {"v1": 0.4, "v2": 0.4})]
    found = replayed([policy_line(silent, START), lines[0], *end[:100], lines[1], *end[100:]])
    assert phases(found) == ["stable", "canary"]


def test_time_that_passes_in_the_recording_fires_them() -> None:
    silent = policy(no_data="2s")
    gap = line(PREDICTIONS, {"request_id": "late", "ts": START + 60 * SECOND, "model": "other",
        "version": "v1", "arm": "stable", "status": "ok", "latency_ms": 1})  # fmt: skip
    lines = [policy_line(silent, START), *recording(5), gap]
    assert phases(replayed(lines))[-1] == "paused"


def test_rules_fire_at_the_boundary_at_which_they_would_have() -> None:
    found = replayed([policy_line(policy(), START), *recording()])
    fired = [each for each in of_type(found, "alert") if each["rule"] == "ctr low"]
    assert fired == []
    worse = [text for _, text in sorted([command(0, "start", "v1"), *traffic(10, {"v1": 0.05})])]
    found = replayed([policy_line(policy(), START), *worse])
    fired = [each for each in of_type(found, "alert") if each["rule"] == "ctr low"]
    assert [each["status"] for each in fired] == ["firing"]
    assert START <= int(str(fired[0]["starts_at"])) < START + 3 * SECOND
