"""A record of `alerts` as an Alertmanager v2 alert, and as an alert of a webhook's message."""

import json

import msgspec
import pytest

from streams.notify import webhook
from streams.notify.alertmanager import (
    escape,
    fingerprint,
    from_alertmanager,
    labels,
    milliseconds,
    rfc3339,
    to_alertmanager,
    unescape,
)
from tests.receiving import NOW, alert, over


def test_a_firing_alert_has_labels_annotations_a_start_and_no_end() -> None:
    posted = to_alertmanager(alert(value=231.5, threshold=200.0))
    assert json.loads(msgspec.json.encode(posted)) == {
        "labels": {"alertname": "slow", "model": "ranker", "severity": "page", "arm": "candidate"},
        "annotations": {
            "summary": "latency_p99_ms is above 200",
            "alert_id": "a1",
            "value": "231.5",
            "threshold": "200.0",
        },
        "startsAt": "2025-01-01T02:53:20.000Z",
    }


def test_a_resolved_alert_has_the_same_labels_and_an_end() -> None:
    posted = to_alertmanager(over(alert(), NOW + 1_234))
    assert posted.labels == to_alertmanager(alert()).labels
    assert posted.ends_at == "2025-01-01T02:53:21.234Z"


def test_the_generator_is_the_link_annotation_where_there_is_one() -> None:
    assert to_alertmanager(alert(), "http://headgate").generator_url == "http://headgate"
    linked = to_alertmanager(alert(annotations={"link": "http://grafana/d/1"}), "http://headgate")
    assert linked.generator_url == "http://grafana/d/1"
    assert linked.annotations["link"] == "http://grafana/d/1"


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("team", "team"),
        ("_team", "_team"),
        ("team_2", "team_2"),
        ("team-a", "U__team_2d_a"),
        ("my.team_a", "U__my_2e_team__a"),
        ("2nd", "U__2nd"),
        ("", "U__"),
        ("größe", "U__gr_f6__df_e"),
        ("花火", "U___82b1__706b_"),
        ("U__x", "U__U____x"),
        ("a:b", "U__a_3a_b"),
        ("a\n", "U__a_a_"),
        ("model", "U__model"),
        ("alertname", "U__alertname"),
        ("severity", "U__severity"),
    ],
)
def test_a_label_name_is_escaped_where_it_is_none_or_is_ours(name: str, escaped: str) -> None:
    assert escape(name, {"alertname", "model", "severity"}) == escaped
    assert unescape(escaped) == name


def test_labels_of_the_record_do_not_hide_its_fields() -> None:
    posted = to_alertmanager(alert(labels={"model": "theirs", "team-a": "x", "team_a": "y"}))
    assert posted.labels["model"] == "ranker"
    assert posted.labels["U__model"] == "theirs"
    assert (posted.labels["U__team_2d_a"], posted.labels["team_a"]) == ("x", "y")


def test_annotations_of_the_record_do_not_hide_its_fields() -> None:
    posted = to_alertmanager(alert(value=1.0, annotations={"value": "much", "alert_id": "mine"}))
    assert posted.annotations == {
        "U__value": "much",
        "U__alert__id": "mine",
        "value": "1.0",
        "alert_id": "a1",
    }


def test_what_changes_while_it_fires_is_no_label() -> None:
    assert labels(alert(value=1.0)) == labels(alert(value=2.0, alert_id="b", annotations={}))


def test_a_foreign_alert_becomes_a_record_with_its_fingerprint_for_an_id() -> None:
    posted = to_alertmanager(alert())
    foreign = msgspec.structs.replace(posted, annotations={})
    assert from_alertmanager(foreign).alert_id == fingerprint(posted.labels)


def test_a_time_keeps_its_milliseconds() -> None:
    assert rfc3339(1_735_689_600_007) == "2025-01-01T00:00:00.007Z"
    assert milliseconds("2025-01-01T00:00:00.007Z") == 1_735_689_600_007
    assert milliseconds("2025-01-01T01:00:00.007123+01:00") == 1_735_689_600_007


@pytest.mark.parametrize("text", ["yesterday", "2025-01-01T00:00:00", ""])
def test_a_time_that_is_none_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        milliseconds(text)


def test_the_fingerprint_is_alertmanagers() -> None:
    """As Alertmanager 0.25 answered for these labels (`/api/v2/alerts`)."""
    known = {
        "U__model": "own",
        "U__team_2d_a": "x",
        "alertname": "slow",
        "arm": "candidate",
        "model": "ranker",
        "severity": "page",
    }
    assert fingerprint(known) == "788d6a75154b2be9"


def test_a_webhooks_message_has_the_shape_of_alertmanagers_payload_version_4() -> None:
    slow = alert(alert_id="a1", annotations={"summary": "s", "runbook": "r"})
    ctr = over(
        alert(alert_id="a2", rule="ctr", severity="warning", annotations={"summary": "t", "runbook": "r"})
    )
    found = json.loads(webhook.body([slow, ctr], (("model", "ranker"),)))
    first, second = found.pop("alerts")
    assert found == {
        "version": "4",
        "groupKey": '{}:{model="ranker"}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "headgate",
        "groupLabels": {"model": "ranker"},
        "commonLabels": {"model": "ranker", "arm": "candidate"},
        "commonAnnotations": {"runbook": "r"},
        "externalURL": "",
    }
    assert (first["status"], second["status"]) == ("firing", "resolved")
    assert first["endsAt"] == "0001-01-01T00:00:00Z"
    assert second["endsAt"] == rfc3339(NOW + 60_000)
    assert first["fingerprint"] == fingerprint(first["labels"])
    assert first.keys() == {
        "status", "labels", "annotations", "startsAt", "endsAt", "generatorURL", "fingerprint"
    }  # fmt: skip


def test_a_webhooks_message_is_resolved_where_all_of_it_is() -> None:
    found = json.loads(webhook.body([over(alert())], ()))
    assert (found["status"], found["groupKey"], found["groupLabels"]) == ("resolved", "{}:{}", {})


def test_a_group_is_written_so_that_no_two_are_alike() -> None:
    keys = {
        json.loads(webhook.body([alert()], group))["groupKey"]
        for group in ((("a", 'x", b="y'),), (("a", "x"), ("b", "y")))
    }
    assert len(keys) == 2
