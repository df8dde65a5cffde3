"""Links from decisions and alerts to where people look."""

import msgspec
import pytest

from schemas import links
from schemas.records import Alert
from schemas.settings import Settings
from streams.judge.facts import alerts

TEMPLATE = "https://grafana/d/h?m={model}&v={version}&from={from}&to={to}"
T = 1_800_000_000_000


def test_a_link_is_about_the_model_the_version_and_the_time_with_a_margin() -> None:
    link = links.render(TEMPLATE, "a/b c", "v2", T, T + 60_000)
    assert link == f"https://grafana/d/h?m=a%2Fb%20c&v=v2&from={T - 600_000}&to={T + 660_000}"


def test_what_is_not_over_goes_on_until_now() -> None:
    assert str(links.render(TEMPLATE, "m", None, T, None)).endswith("&to=now")


def test_without_a_template_there_is_no_link() -> None:
    assert links.render("", "m", "v", T, T) is None


@pytest.mark.parametrize("template", ["{modell}", "{", "{}", "{model.real}"])
def test_settings_with_a_template_that_cannot_be_filled_in_are_refused(template: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="url: "):
        msgspec.toml.decode(f'[grafana]\nurl = "{template}"\n'.encode(), type=Settings)


def test_an_alert_gets_the_link_as_an_annotation_beside_its_own() -> None:
    alert = Alert(
        alert_id="a", model="m", rule="r", status="firing", severity="page", starts_at=T,
        annotations={"summary": "s"},
    )  # fmt: skip
    linked = alerts.linked(alert, TEMPLATE)
    assert linked.annotations == {"summary": "s", "link": links.render(TEMPLATE, "m", None, T, None)}
    assert alerts.linked(alert, "") == alert
