"""The judge's evidence on a real broker: started anew in the midst of a release, with its checkpoint lost, in
two partitions; and its decisions made again from the log by the command that does so.
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

import infra.topics
from infra.commands.release_verify import verified
from schemas import topics
from schemas.records import ENCODER, DeadLetter, Progress
from schemas.settings import Settings
from streams.judge.releases.checkpoint import Checkpoint
from streams.judge.verify import Result
from streams.log import Follower
from tests.integration.headgate_command import Headgate
from tests.judge_processes import POLICY, Bench, Log, now

RELEASE = POLICY["release"] | {"steps": [{"weight": 0.3, "for": "1h"}], "watch_after": "1h"}
SAME = {"v1": 0.2, "v2": 0.2}
WORSE = {"v1": 0.2, "v2": 0.05}


@pytest.fixture
def bench(settings: Settings, tmp_path: Path) -> Iterator[Bench]:
    infra.topics.create(settings, forever=True)
    made = Bench(settings, tmp_path, f"ranker-{now()}")
    made.apply(POLICY | {"release": RELEASE})
    made.command("start", "v1")
    yield made
    made.close()


def checkpoint(bench: Bench) -> Checkpoint | None:
    """What the judge has written last."""
    with closing(Follower(bench.settings, topics.EVIDENCE)) as follower:
        values = [entry.value for entry in follower.refresh() if entry.key == bench.model.encode()]
    return msgspec.json.decode(values[-1], type=Checkpoint) if values and values[-1] else None


def folded(bench: Bench, panes: int) -> bool:
    """Whether so many panes of the running release are in the checkpoint."""
    found = checkpoint(bench)
    return found is not None and found.folded is not None and found.folded.panes >= panes


def canary(bench: Bench) -> None:
    """A judge, and a release that has run for some seconds."""
    bench.start()
    bench.until(lambda: bench.phase() == "stable")
    bench.command("start", "v2")
    bench.until(lambda: bench.phase() == "canary")
    bench.traffic_until(lambda: folded(bench, 4), SAME)


@pytest.mark.soak
def test_a_judge_started_anew_in_the_midst_of_a_pause_goes_on_with_what_was_folded_and_decides_what_follows(
    bench: Bench,
) -> None:
    canary(bench)
    bench.command("pause")
    bench.until(lambda: bench.phase() == "paused")
    before = checkpoint(bench)
    bench.kill()
    bench.start()
    bench.traffic_until(lambda: bench.phase() == "rolled_back", WORSE)
    assert before is not None
    assert before.folded is not None
    evidence = bench.releases()[-1].evidence or {}
    assert evidence["panes"]["first"] == before.folded.first
    assert "reading metrics.panes again" not in bench.logs()
    results = {one.result for one in verified(bench.settings, bench.model)}
    assert results == {Result.SAME}


@pytest.mark.soak
def test_where_the_checkpoint_is_lost_the_panes_are_read_again_and_the_judge_says_so(bench: Bench) -> None:
    canary(bench)
    bench.traffic_until(lambda: folded(bench, 15), SAME)  # offsets are committed beyond the first of them
    first = checkpoint(bench)
    bench.kill()
    bench.raw(topics.EVIDENCE, b"")
    bench.start()
    bench.until(lambda: "reading metrics.panes again" in bench.logs())
    bench.traffic_until(lambda: bench.phase() == "rolled_back", WORSE)
    assert first is not None
    assert first.folded is not None
    evidence = bench.releases()[-1].evidence or {}
    assert evidence["panes"]["first"] == first.folded.first
    assert {one.result for one in verified(bench.settings, bench.model)} == {Result.SAME}


def test_panes_and_clocks_from_the_future_are_dead_letters_and_move_nothing(bench: Bench) -> None:
    canary(bench)
    year = 31_536_000_000
    later = Progress(partition=0, partitions=1, time=now() + year, clock=now() + year, snapshot=1 << 60)
    bench.send(topics.PANES, later)
    letters = Log(bench.settings, topics.DEAD_LETTERS, DeadLetter)

    def told() -> bool:
        reasons = [letter.reason for letter in letters.read() if letter.topic == topics.PANES.name]
        return any("expected at most a day after the Kafka timestamp" in reason for reason in reasons)

    bench.until(told)
    bench.traffic_until(lambda: bench.phase() == "rolled_back", WORSE)


def test_who_asks_sees_the_tests_of_the_running_release_and_may_have_its_decisions_made_again(
    bench: Bench, tmp_path: Path
) -> None:
    canary(bench)
    headgate = Headgate(bench.settings, tmp_path)
    shown = headgate("release", "status", bench.model)
    assert (shown.status, shown.err) == (0, "")
    assert "v2 is tried out on 30 % of" in shown.out
    assert "ctr worse_by 0" in shown.out
    status = headgate("release", "status", bench.model, "--json").json
    assert status["outlook"]["context"]["findings"][0]["test"] == "ctr worse_by 0"
    assert [turn["phase"] for turn in status["history"]] == ["stable", "canary"]
    done = headgate("release", "verify", bench.model)
    assert (done.status, done.err) == (0, "")
    assert "2 of 2 decisions follow from the log" in done.out
    lie = msgspec.structs.replace(bench.releases()[-1], generation=3, reason="because I say so")
    bench.raw(topics.RELEASES, ENCODER.encode(lie))
    done = headgate("release", "verify", bench.model, "--json")
    assert done.status == 1
    assert [one["result"] for one in done.json] == ["same", "same", "different"]


@pytest.mark.soak
def test_each_of_two_partitions_has_evidence_of_its_own(settings: Settings, tmp_path: Path) -> None:
    twofold = msgspec.structs.replace(
        settings,
        topics=msgspec.structs.replace(
            settings.topics, prefix=f"{settings.topics.prefix}two.", model_partitions=2
        ),
    )
    infra.topics.create(twofold, forever=True)
    benches = [Bench(twofold, tmp_path, model) for model in ("ranker-a", "ranker-b", "ranker-d")]
    try:
        for bench in benches:
            bench.apply(POLICY | {"release": RELEASE})
            bench.command("start", "v1")
        benches[0].start()
        for bench in benches:
            bench.until(lambda bench=bench: bench.phase() == "stable")  # type: ignore[misc]
            bench.command("start", "v2")
        for bench in benches:
            bench.until(lambda bench=bench: bench.phase() == "canary")  # type: ignore[misc]
        written = Log(twofold, topics.EVIDENCE, Checkpoint)
        benches[0].until(lambda: len({one.model for one in written.read() if one.history}) == 3)
        benches[0].kill()
        benches[0].start()
        for bench in benches:
            bench.command("abort")
        for bench in benches:
            bench.until(lambda bench=bench: len(bench.releases()) == 3)  # type: ignore[misc]
            assert {one.result for one in verified(twofold, bench.model)} == {Result.SAME}
    finally:
        for bench in benches:
            bench.close()
