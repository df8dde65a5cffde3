"""The forwarder without Kafka, against real HTTP servers: what waits for what, and for how long."""

import asyncio
import time
from functools import partial

from infra.local import ports
from schemas.receivers import Notify
from streams.notify.desk import AHEAD
from tests.integration.office import Office, play
from tests.receiving import Answer, Server, Taken, alert, over, serving

HOOK = "/hook"


def rules(server: Server) -> list[list[str]]:
    """Of each message to a webhook, its alerts' rules."""
    return [[one["labels"]["alertname"] for one in body["alerts"]] for body in server.bodies(HOOK)]


def test_a_receiver_that_asks_to_wait_is_waited_for() -> None:
    with serving() as server:
        server.answers.append(Answer(429, {"Retry-After": "2"}))

        async def scenario(office: Office) -> None:
            office.comes(alert())
            await office.until(lambda: len(server.taken) == 2)
            assert 1.9 <= server.taken[1].at - server.taken[0].at < 4.0

        play(Notify(webhook=f"{server.url}{HOOK}"), scenario)


def test_a_receiver_that_fails_is_tried_again_less_and_less_often() -> None:
    with serving() as server:
        server.answers.extend(Answer(503) for _ in range(3))

        async def scenario(office: Office) -> None:
            office.comes(alert())
            await office.until(lambda: office.vital("posted_alerts_total") == 1)
            first, second, third, fourth = (taken.at for taken in server.taken)
            assert 0.4 < second - first < third - second + 0.6 < fourth - third + 1.2
            assert (office.vital("failed_posts_total"), office.vital("receivers_away")) == (3, 0)

        play(Notify(webhook=f"{server.url}{HOOK}"), scenario)


def test_messages_that_fail_together_are_one_failure() -> None:
    with serving() as server:
        server.answers.extend(Answer(503, pause=0.2) for _ in range(8))

        async def scenario(office: Office) -> None:
            office.comes(*(alert(model=f"m{i}") for i in range(8)))
            await office.until(lambda: office.vital("posted_alerts_total") == 8)
            assert office.vital("failed_posts_total") == 8
            assert server.taken[-1].at - server.taken[0].at < 5.0

        play(Notify(webhook=f"{server.url}{HOOK}"), scenario)


def test_what_was_to_be_posted_of_a_partition_that_goes_is_not() -> None:
    with serving() as server:

        async def scenario(office: Office) -> None:
            office.writes = False
            office.comes(alert())
            office.desk.plan([0], office.now)
            assert len(office.desk.queued()) == 1
            office.desk.forget([0])
            await asyncio.sleep(2 * AHEAD / 1_000)
            office.desk.post(office.now)
            assert (office.desk.queued(), server.taken) == ([], [])

        play(Notify(webhook=f"{server.url}{HOOK}"), scenario)


def test_a_slow_receiver_holds_up_no_other_and_a_slow_group_no_page_of_another() -> None:
    with serving() as slow, serving() as server:
        slow.judge = lambda _: Answer(pause=5.0)

        def judge(taken: Taken) -> Answer:
            return Answer(pause=5.0 if taken.body["groupLabels"]["model"] == "sluggish" else 0.0)

        server.judge = judge

        async def scenario(office: Office) -> None:
            office.comes(alert(model="sluggish"))
            await office.until(lambda: len(server.taken) == 1)
            began = time.monotonic()
            office.comes(alert())
            await office.until(lambda: len(server.taken) == 2)
            assert server.taken[1].at - began < 1.0

        play(Notify(alertmanager=slow.url, webhook=f"{server.url}{HOOK}"), scenario)


def test_what_is_said_of_one_alert_is_said_in_its_order_whatever_is_slow() -> None:
    with serving() as server:
        server.answers.extend([Answer(pause=0.5), Answer(500), Answer(pause=0.3)])

        async def scenario(office: Office) -> None:
            for i in range(6):
                fired = alert(alert_id=f"a{i // 2}")
                office.comes(over(fired) if i % 2 else fired)
                await office.until(partial(lambda i: office.vital("posted_alerts_total") > i, i))
            statuses = [body["status"] for body in server.bodies(HOOK)]
            deduplicated = [s for i, s in enumerate(statuses) if i == 0 or s != statuses[i - 1]]
            assert deduplicated == ["firing", "resolved"] * 3

        play(Notify(webhook=f"{server.url}{HOOK}", group_wait=0.0), scenario)


def test_while_a_receiver_is_away_only_the_newest_record_of_each_alert_is_held() -> None:
    async def scenario(office: Office) -> None:
        for i in range(5_000):
            fired = alert(alert_id=f"a{i}", rule=f"r{i % 10}", severity="warning")
            office.comes(fired, *([over(fired)] if i % 3 else []))
            if i % 500 == 0:
                await office.until(lambda: True)
                await asyncio.sleep(0)
        assert len(office.desk.book) == 10
        await office.until(lambda: office.vital("receivers_away") == 1)

    play(Notify(webhook=f"http://127.0.0.1:{ports.free()}{HOOK}", group_wait=0.1), scenario)


def test_alerts_of_a_group_go_out_together_after_the_wait() -> None:
    with serving() as server:

        async def scenario(office: Office) -> None:
            began = time.monotonic()
            office.comes(alert(severity="warning", rule="a"))
            office.comes(alert(severity="warning", rule="b"), alert(severity="warning", rule="c"))
            await office.until(lambda: len(server.taken) == 1)
            assert server.taken[0].at - began >= 0.5
            assert rules(server) == [["a", "b", "c"]]

        play(Notify(webhook=f"{server.url}{HOOK}", group_wait=0.5), scenario)


def test_a_page_is_posted_although_nothing_can_be_written_down() -> None:
    """Kafka may be away: the page was read before it went."""
    with serving() as server:

        async def scenario(office: Office) -> None:
            office.writes = False
            began = time.monotonic()
            office.comes(alert())
            await office.until(lambda: len(server.taken) == 1)
            assert AHEAD / 1_000 <= server.taken[0].at - began < 1.0

        play(Notify(webhook=f"{server.url}{HOOK}"), scenario)


def test_in_doubt_nothing_is_posted_before_something_is_written_down() -> None:
    """After a freeze: somebody else may have the partition, and have told that the alert is over."""
    with serving() as server:

        async def scenario(office: Office) -> None:
            office.comes(alert())
            await office.until(lambda: len(server.taken) == 1)
            office.desk.doubt()
            office.writes = False
            began = time.monotonic()
            await office.until(lambda: time.monotonic() > began + 3 * AHEAD / 1_000)
            assert len(server.taken) == 1
            office.writes = True
            await office.until(lambda: len(server.taken) == 2)

        play(Notify(alertmanager=server.url, resend=0.3), scenario)


def test_an_alertmanager_is_told_again_although_nothing_can_be_written_down() -> None:
    with serving() as server:

        async def scenario(office: Office) -> None:
            office.comes(alert())
            await office.until(lambda: len(server.taken) == 1)
            office.writes = False
            await office.until(lambda: len(server.taken) == 5)

        play(Notify(alertmanager=server.url, resend=0.3), scenario)


def test_what_waits_and_what_is_silent_can_be_seen() -> None:
    with serving() as server:
        server.judge = lambda _: Answer(503)

        async def scenario(office: Office) -> None:
            office.comes(alert(), alert(rule="ctr"))
            await office.until(lambda: office.vital("receivers_away") == 1)
            assert office.vital("unsent_alerts") == 2
            before = office.vital("oldest_unsent_seconds")
            await asyncio.sleep(0.05)
            assert office.vital("oldest_unsent_seconds") > before
            server.judge = lambda _: Answer()
            await office.until(lambda: office.vital("unsent_alerts") == 0)
            assert office.vital("oldest_unsent_seconds") == 0
            assert office.vital("posted_alerts_total") == 2

        play(Notify(webhook=f"{server.url}{HOOK}"), scenario)


def test_hundreds_of_groups_are_told_side_by_side() -> None:
    with serving() as server:
        server.judge = lambda _: Answer(pause=0.01)

        async def scenario(office: Office) -> None:
            office.comes(*(alert(model=f"m{i}") for i in range(300)))
            await office.until(lambda: office.vital("posted_alerts_total") == 300)
            assert len(server.bodies(HOOK)) == 300

        play(Notify(webhook=f"{server.url}{HOOK}"), scenario)
