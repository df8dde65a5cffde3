"""Commands through the core: which are refused, that it is recorded, and that nothing changes by them."""

import pytest

from schemas.records import Ack, Command, CommandRecord
from streams.judge.releases.admission import PATIENCE, STALE
from streams.judge.releases.escalation import QUIET
from tests.judging import World, pane

RELEASE = {"steps": [{"weight": 0.2, "for": "1h"}], "ack_deadline": "2s"}


class Desk:
    """A world to which commands are given as records."""

    def __init__(self) -> None:
        self.world = World({"release": RELEASE})
        self._offset = 0

    def give(
        self,
        word: Command,
        version: str | None = None,
        *,
        model: str = "ranker",
        command_id: str = "",
        age: int = 0,
        generation: int | None = None,
        forged: str | None = None,
        late: int = 0,
    ) -> None:
        """A command made `age` ms ago, read `late` ms after it was written."""
        record = CommandRecord(
            model=model, ts=self.world.now - age, command=word, actor="olga", version=version,
            command_id=command_id or f"c{self._offset}", generation=generation,
        )  # fmt: skip
        self.world.judge.command(record, self._offset, self.world.now - late, forged)
        self._offset += 1
        self.world.decide()

    @property
    def phase(self) -> str:
        return self.world.release.phase

    def refusals(self, model: str = "ranker") -> list[str]:
        last = [checkpoint for checkpoint in self.world.checkpoints if checkpoint.model == model][-1]
        return [refusal.reason for refusal in last.refusals]

    def workers(self, *versions: str, model: str = "ranker") -> None:
        """Two live ones that have these versions."""
        for worker in ("w1", "w2"):
            self.world.judge.ack(
                Ack(model=model, worker=worker, ts=self.world.now, kind="heartbeat", available=[*versions],
                    generation=self.world.release.generation if self.world.releases else 0)
            )  # fmt: skip


@pytest.fixture
def desk() -> Desk:
    """v1 is stable."""
    made = Desk()
    made.give("start", "v1")
    return made


def test_a_command_that_is_given_again_is_refused_and_recorded(desk: Desk) -> None:
    desk.give("start", "v2", command_id="same")
    desk.give("abort")
    before = desk.world.release
    desk.give("start", "v2", command_id="same")
    assert desk.world.release == before
    assert desk.refusals() == ["command same has been dealt with before: this is a repetition"]


def test_a_refused_command_that_is_given_again_is_refused_for_that(desk: Desk) -> None:
    desk.give("resume", command_id="same")
    desk.give("start", "v2")
    desk.give("pause")
    desk.give("resume", command_id="same")
    assert desk.phase == "paused"
    assert "repetition" in desk.refusals()[-1]


def test_a_repetition_is_known_to_a_successor(desk: Desk) -> None:
    desk.give("start", "v2", command_id="same")
    desk.give("abort")
    desk.world.successor()
    desk.give("start", "v2", command_id="same")
    assert desk.phase == "stable"
    assert "repetition" in desk.refusals()[-1]


def test_a_repetition_is_known_even_where_the_checkpoint_was_not_written(desk: Desk) -> None:
    desk.give("start", "v2", command_id="same")
    desk.world.checkpoints.clear()
    desk.world.successor()
    desk.give("pause", command_id="same")
    assert desk.phase == "canary"
    assert "repetition" in desk.refusals()[-1]


def test_a_promotion_from_an_hour_ago_is_refused_and_a_rollback_is_done(desk: Desk) -> None:
    desk.give("start", "v2")
    desk.give("promote", age=3_600_000)
    assert desk.phase == "canary"
    assert "it is 60 min old" in desk.refusals()[-1]
    desk.give("rollback", age=3_600_000)
    assert desk.phase == "rolled_back"


@pytest.mark.parametrize("version", [None, "v3"])
def test_a_rollback_from_before_the_rollback_does_not_go_back_once_more(
    desk: Desk, version: str | None
) -> None:
    for command in ("start", "promote", "promote"):
        desk.give(command, "v2")
    desk.give("start", "v3")
    desk.give("rollback")
    assert (desk.phase, desk.world.release.stable) == ("rolled_back", "v2")
    desk.give("rollback", version, age=1)
    assert desk.world.release.stable == "v2"
    assert "asked for before the release was rolled back to v2" in desk.refusals()[-1]


def test_back_beyond_what_was_rolled_back_to_goes_only_who_names_the_version_or_the_generation(
    desk: Desk,
) -> None:
    for command in ("start", "promote", "promote"):
        desk.give(command, "v2")
    desk.give("start", "v3")
    desk.give("rollback")
    desk.give("rollback")
    assert (desk.phase, desk.world.release.stable) == ("rolled_back", "v2")
    assert "nothing has been released since the rollback to v2; to go back further" in desk.refusals()[-1]
    desk.give("rollback", generation=desk.world.release.generation)
    assert desk.world.release.stable == "v1"
    desk.give("rollback", "v2")
    assert desk.world.release.stable == "v2"


def test_a_promotion_from_before_the_promotion_does_not_end_the_watching(desk: Desk) -> None:
    desk.give("start", "v2")
    desk.give("promote")
    desk.give("promote", age=1)
    assert desk.phase == "watching"
    assert "asked for before v2 was promoted" in desk.refusals()[-1]
    desk.give("promote")
    assert desk.phase == "stable"


def test_a_command_that_waited_within_the_limit_is_done(desk: Desk) -> None:
    desk.give("start", "v2", age=STALE)
    assert desk.phase == "canary"


def test_a_command_for_another_generation_is_refused(desk: Desk) -> None:
    desk.give("start", "v2", generation=1)
    assert desk.world.release.generation == 2
    desk.give("promote", generation=1)
    assert desk.phase == "canary"
    assert desk.refusals()[-1] == "it was meant for generation 1, found generation 2"


def test_a_forged_command_is_refused_recorded_and_one_alert_until_it_is_quiet(desk: Desk) -> None:
    before = desk.world.release
    for _ in range(3):
        desk.give("start", "v2", forged="it is not signed")
        desk.world.now += 1_000
    assert desk.world.release == before
    assert desk.refusals() == ["it is not signed"] * 3
    alerts = [alert for alert in desk.world.alerts if alert.rule == "forged_record"]
    assert [(a.status, a.severity, a.labels) for a in alerts] == [
        ("firing", "warning", {"topic": "control.commands"})
    ]
    desk.world.now += QUIET + 1
    desk.world.decide()
    alerts = [alert for alert in desk.world.alerts if alert.rule == "forged_record"]
    assert [alert.status for alert in alerts] == ["firing", "resolved"]
    assert len({alert.alert_id for alert in alerts}) == 1


def test_a_successor_ends_an_alert_that_it_never_saw_fire(desk: Desk) -> None:
    desk.give("start", "v2", forged="it is not signed")
    desk.world.successor()
    desk.world.decide()
    alerts = [alert for alert in desk.world.alerts if alert.rule == "forged_record"]
    assert [alert.status for alert in alerts] == ["firing", "resolved"]


def test_a_version_that_no_worker_has_is_refused_when_it_has_not_come_in_time(desk: Desk) -> None:
    desk.workers("v1", "v2")
    desk.give("start", "v9")
    assert desk.world.release.generation == 1
    assert desk.world.judge.pending() is not None
    desk.world.now += PATIENCE
    desk.workers("v1", "v2")
    desk.world.decide()
    assert desk.refusals() == ["no live worker has a version v9 of ranker (they have v1, v2)"]
    assert desk.world.judge.pending() is None


def test_a_version_that_comes_in_time_is_started(desk: Desk) -> None:
    desk.workers("v1")
    desk.give("start", "v2")
    desk.world.now += 500
    desk.workers("v1", "v2")
    desk.world.decide()
    assert (desk.phase, desk.world.release.candidate) == ("canary", "v2")


def test_a_rollback_does_not_wait_behind_a_version_that_is_waited_for(desk: Desk) -> None:
    desk.give("start", "v2")
    desk.workers("v1", "v2")
    desk.give("start", "v9")
    desk.give("rollback")
    assert desk.phase == "rolled_back"


def test_a_version_that_one_of_the_workers_has_is_started(desk: Desk) -> None:
    desk.workers("v1")
    desk.world.judge.ack(
        Ack(model="ranker", worker="w3", ts=desk.world.now, kind="heartbeat", generation=1, available=["v2"])
    )
    desk.give("start", "v2")
    assert desk.world.release.candidate == "v2"


def test_workers_that_do_not_tell_what_they_have_are_believed(desk: Desk) -> None:
    desk.world.heartbeat("w1", 1)
    desk.give("start", "v9")
    assert desk.world.release.candidate == "v9"


def test_a_model_that_nobody_knows_is_refused_and_gets_no_release(desk: Desk) -> None:
    desk.workers("v1", "v2")
    desk.give("start", "v1", model="ranger")
    assert {record.model for record in desk.world.releases} == {"ranker"}
    (reason,) = desk.refusals("ranger")
    assert "nothing is known of a model ranger" in reason
    assert "they serve ranker" in reason


def test_a_model_that_a_worker_serves_is_known(desk: Desk) -> None:
    desk.workers("v1")
    desk.workers("v1", model="other")
    desk.give("start", "v1", model="other")
    assert desk.world.release.model == "other"


def test_a_model_with_predictions_of_somebody_elses_worker_is_known(desk: Desk) -> None:
    desk.workers("v1")
    desk.world.take(pane("v1", desk.world.now, model="foreign", sums={"predictions": 1.0}))
    desk.give("start", "v1", model="foreign")
    assert desk.world.release.model == "foreign"
