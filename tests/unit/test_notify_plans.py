"""When an Alertmanager and a webhook are told what."""

from collections.abc import Collection

import pytest

from schemas.records import Alert
from streams.notify.book import Book, Case
from streams.notify.plans import KEPT, LATER, MOST, SIDE_BY_SIDE, Continual, Due, Group, Grouped, Known
from tests.receiving import alert, over

T = 1_000_000
RESEND, WAIT, REPEAT = 60_000, 5_000, 3_600_000
MANAGER = Continual("manager", RESEND)
HOOK = Grouped("hook", ("model",), WAIT, REPEAT)
PLANS = pytest.mark.parametrize("plan", [MANAGER, HOOK], ids=lambda plan: plan.name)
RANKER: Group = (("model", "ranker"),)


class World:
    """A book, and one receiver that takes all that it is told."""

    def __init__(self, plan: Continual | Grouped) -> None:
        self.plan = plan
        self.book = Book()
        self.silenced: set[str] = set()
        self._offset = 0

    def comes(self, *alerts: Alert, at: int = T) -> None:
        for one in alerts:
            self.book.take(one, 0, self._offset, at)
            self._offset += 1

    def due(self, now: int, busy: Collection[Group] = ()) -> Due:
        known = [
            Known(place, case, case.fires and case.alert.rule in self.silenced)
            for place, case in self.book.cases([0])
        ]
        for one in known:
            if one.silenced:
                self.book.unsay(one.place, one.case)
        return self.plan.due(known, busy, now)

    def told(self, now: int, *, refused: bool = False) -> list[list[tuple[str, str]]]:
        """What it is told at `now`: for each message, rule and status of its alerts."""
        messages = self.due(now).messages
        for message in messages:
            self.book.attempt(message.alerts, self.plan.name)
            (self.book.refuse if refused else self.book.tell)(message.alerts, self.plan.name, now)
        return [[(one.rule, one.status) for one in message.alerts.values()] for message in messages]

    def attempted(self, now: int) -> None:
        """It is told, but nobody knows whether it has heard."""
        for message in self.due(now).messages:
            self.book.attempt(message.alerts, self.plan.name)

    @property
    def case(self) -> Case:
        ((_, case),) = self.book.cases([0])
        return case


FIRES = [[("slow", "firing")]]
ENDS = [[("slow", "resolved")]]


@PLANS
def test_a_page_is_told_at_once_and_not_again_at_once(plan: Continual | Grouped) -> None:
    world = World(plan)
    world.comes(alert())
    assert world.told(T) == FIRES
    assert world.told(T + 1) == []


@PLANS
def test_an_end_is_told_to_who_heard_of_the_beginning(plan: Continual | Grouped) -> None:
    world = World(plan)
    world.comes(alert())
    world.told(T)
    world.comes(over(alert()), at=T + 1_000)
    assert world.told(T + 1_000 + WAIT) == ENDS


@PLANS
def test_an_alert_that_was_over_before_anybody_was_told_is_told_to_nobody(plan: Continual | Grouped) -> None:
    world = World(plan)
    world.comes(alert(), over(alert()))
    assert world.due(T + 10 * REPEAT) == Due([], LATER)
    assert plan.over(world.case, T)


@PLANS
def test_an_end_is_told_to_who_may_have_heard_of_the_beginning(plan: Continual | Grouped) -> None:
    world = World(plan)
    world.comes(alert())
    world.attempted(T)
    world.comes(over(alert()), at=T + 1_000)
    assert not plan.over(world.case, T + 1_000)
    assert world.told(T + 1_000 + WAIT) == ENDS


@PLANS
def test_what_is_silenced_is_not_told(plan: Continual | Grouped) -> None:
    world = World(plan)
    world.silenced = {"slow"}
    world.comes(alert())
    assert world.due(T + 10 * REPEAT) == Due([], LATER)


@PLANS
def test_what_still_fires_when_a_silence_ends_is_told(plan: Continual | Grouped) -> None:
    world = World(plan)
    world.comes(alert())
    world.told(T)
    world.silenced = {"slow"}
    assert world.due(T + RESEND) == Due([], LATER)
    world.silenced = set()
    assert world.told(T + RESEND + 1) == FIRES


@PLANS
def test_the_end_of_what_was_told_is_told_although_it_was_silenced_in_between(
    plan: Continual | Grouped,
) -> None:
    world = World(plan)
    world.comes(alert())
    world.told(T)
    world.silenced = {"slow"}
    world.due(T + 1)
    world.comes(over(alert()), at=T + 2)
    assert world.told(T + 2 + WAIT) == ENDS


@PLANS
def test_the_end_of_what_was_silenced_from_the_beginning_is_not_told(plan: Continual | Grouped) -> None:
    world = World(plan)
    world.silenced = {"slow"}
    world.comes(alert())
    world.due(T)
    world.comes(over(alert()), at=T + 1)
    assert world.due(T + 10 * REPEAT) == Due([], LATER)


@PLANS
def test_what_was_refused_is_not_told_again_until_it_changes(plan: Continual | Grouped) -> None:
    world = World(plan)
    world.comes(alert())
    assert world.told(T, refused=True) == FIRES
    assert world.due(T + 10 * REPEAT) == Due([], LATER)
    world.comes(alert(alert_id="later"), at=T + 1)
    assert world.told(T + 1) == FIRES


@PLANS
def test_that_it_fires_again_after_its_end_is_told(plan: Continual | Grouped) -> None:
    world = World(plan)
    world.comes(alert())
    world.told(T)
    world.comes(over(alert()), at=T + 1)
    world.told(T + 1 + WAIT)
    world.comes(alert(), at=T + 2 + WAIT)
    assert world.told(T + 2 + WAIT) == FIRES


@PLANS
def test_firing_and_ending_between_two_messages_is_as_if_nothing_had_happened(
    plan: Continual | Grouped,
) -> None:
    world = World(plan)
    world.comes(alert())
    world.told(T)
    world.comes(over(alert()), alert(), at=T + 1)
    assert world.told(T + 1 + WAIT) == []


class TestAnAlertmanager:
    def test_is_told_at_once_whatever_the_severity(self) -> None:
        world = World(MANAGER)
        world.comes(alert(severity="warning"))
        assert world.told(T) == FIRES

    def test_is_told_again_of_what_fires_every_resend_period(self) -> None:
        world = World(MANAGER)
        world.comes(alert())
        world.told(T)
        assert world.due(T + 1).again == T + RESEND
        assert world.told(T + RESEND - 1) == []
        assert world.told(T + RESEND) == FIRES
        assert world.told(T + 2 * RESEND) == FIRES

    def test_the_same_alert_firing_twice_is_told_once_a_period(self) -> None:
        world = World(MANAGER)
        world.comes(alert())
        world.told(T)
        world.comes(alert(), alert(value=3.0), at=T + 1)
        assert world.told(T + 1) == []
        (message,) = world.due(T + RESEND).messages
        assert [one.value for one in message.alerts.values()] == [3.0]

    def test_is_told_again_of_an_end_for_a_while_and_then_no_more(self) -> None:
        world = World(MANAGER)
        world.comes(alert())
        world.told(T)
        world.comes(over(alert()), at=T)
        times = [now for now in range(T, T + 2 * KEPT, 1_000) if world.told(now)]
        assert times == list(range(T, T + KEPT, RESEND))
        assert not MANAGER.over(world.case, T + KEPT - 1)
        assert MANAGER.over(world.case, T + KEPT)

    def test_has_one_message_at_a_time_under_way(self) -> None:
        world = World(MANAGER)
        world.comes(alert())
        assert world.due(T, busy=[()]) == Due([], LATER)

    def test_gets_no_more_than_so_many_at_a_time_pages_first_then_news_before_what_it_knows(self) -> None:
        world = World(MANAGER)
        world.comes(alert(rule="known"))
        world.told(T)
        now = T + RESEND
        world.comes(*(alert(rule=f"w{i}", severity="warning") for i in range(MOST)), at=now - 2)
        world.comes(alert(rule="page"), at=now - 1)
        ((first, *rest),) = world.told(now)
        assert first == ("page", "firing")
        assert len(rest) == MOST - 1
        assert [rule for rule, _ in world.told(now)[0]] == [f"w{MOST - 1}", "known"]


class TestAWebhook:
    def test_a_warning_waits_for_others_of_its_group(self) -> None:
        world = World(HOOK)
        world.comes(alert(severity="warning"))
        assert world.due(T) == Due([], T + WAIT)
        world.comes(alert(severity="warning", rule="ctr"), at=T + WAIT - 1)
        assert world.told(T + WAIT - 1) == []
        assert world.told(T + WAIT) == [[("slow", "firing"), ("ctr", "firing")]]

    def test_a_page_takes_along_what_waits_in_its_group(self) -> None:
        world = World(HOOK)
        world.comes(alert(severity="warning", rule="ctr"))
        world.comes(alert(), at=T + 1)
        assert world.told(T + 1) == [[("ctr", "firing"), ("slow", "firing")]]

    def test_a_page_does_not_take_along_other_groups(self) -> None:
        world = World(HOOK)
        world.comes(alert(severity="warning", model="other"))
        world.comes(alert(), at=T + 1)
        assert world.told(T + 1) == FIRES

    def test_a_warning_that_is_over_within_the_wait_is_told_to_nobody(self) -> None:
        world = World(HOOK)
        world.comes(alert(severity="warning"))
        world.due(T)
        world.comes(over(alert(severity="warning")), at=T + WAIT - 1)
        assert world.due(T + WAIT) == Due([], LATER)

    def test_a_message_says_how_the_whole_group_stands(self) -> None:
        world = World(HOOK)
        world.comes(alert(), alert(rule="ctr"))
        world.told(T)
        world.comes(over(alert()), at=T + 1)
        assert world.told(T + 1 + WAIT) == [[("slow", "resolved"), ("ctr", "firing")]]

    def test_a_message_leaves_out_what_is_silenced(self) -> None:
        world = World(HOOK)
        world.comes(alert(), alert(rule="ctr"))
        world.silenced = {"ctr"}
        assert world.told(T) == FIRES

    def test_what_fires_is_told_again_after_the_repeat_time_and_what_is_over_is_not(self) -> None:
        world = World(HOOK)
        world.comes(alert())
        world.told(T)
        assert world.due(T + 1).again == T + REPEAT
        assert world.told(T + REPEAT) == FIRES
        world.comes(over(alert()), at=T + REPEAT)
        assert world.told(T + REPEAT + WAIT) == ENDS
        assert HOOK.over(world.case, T + REPEAT + WAIT)
        assert world.due(T + 10 * REPEAT) == Due([], LATER)

    def test_no_message_goes_to_a_group_that_has_one_under_way(self) -> None:
        world = World(HOOK)
        world.comes(alert(), alert(model="other"))
        assert [message.group for message in world.due(T, busy=[RANKER]).messages] == [(("model", "other"),)]

    def test_no_more_than_so_many_messages_are_under_way_and_pages_go_first(self) -> None:
        world = World(HOOK)
        world.comes(*(alert(model=f"m{i}", severity="warning") for i in range(2 * SIDE_BY_SIDE)))
        world.comes(alert(), at=T + WAIT)
        messages = world.due(T + WAIT).messages
        assert len(messages) == SIDE_BY_SIDE
        assert messages[0].group == RANKER
        busy = [(("model", f"n{i}"),) for i in range(SIDE_BY_SIDE)]
        assert world.due(T + WAIT, busy=busy).messages == []

    def test_too_many_for_one_message_come_in_the_next_what_is_news_first(self) -> None:
        world = World(HOOK)
        world.comes(*(alert(rule=f"r{i}") for i in range(MOST + 3)))
        (first,) = world.told(T)
        (second,) = world.told(T)
        assert len(first) == len(second) == MOST
        assert [rule for rule, _ in second[:3]] == [f"r{MOST + i}" for i in range(3)]
        assert world.told(T) == []

    def test_groups_are_of_any_labels_or_of_none(self) -> None:
        by_arm = HOOK._replace(group_by=("alertname", "arm"))
        assert by_arm.group(alert()) == (("alertname", "slow"), ("arm", "candidate"))
        assert by_arm.group(alert(labels={})) == (("alertname", "slow"), ("arm", ""))
        assert HOOK._replace(group_by=()).group(alert()) == ()
        by_team = HOOK._replace(group_by=("team-a",))
        assert by_team.group(alert(labels={"team-a": "x"})) == (("U__team_2d_a", "x"),)
