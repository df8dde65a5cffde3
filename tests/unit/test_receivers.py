"""The section `[notify]`: who is told of alerts, and which mistakes are named."""

from pathlib import Path

import pytest

from schemas.errors import HeadgateError
from schemas.receivers import VARIABLES, Notify, place
from schemas.settings import Settings, load


def loaded(folder: Path, toml: str, environ: dict[str, str] | None = None) -> Notify:
    file = folder / "headgate.toml"
    file.write_text(f"[notify]\n{toml}\n")
    return load(file, environ or {}).notify


def test_nobody_is_told_by_default(tmp_path: Path) -> None:
    notify = load(tmp_path / "none.toml", {}).notify
    assert not notify.configured
    assert notify.alertmanagers == ()


@pytest.mark.parametrize(
    ("toml", "found"),
    [
        ('alertmanager = "http://a:9093"', ("http://a:9093",)),
        ('alertmanager = "http://a:9093/, http://b:9093"', ("http://a:9093", "http://b:9093")),
        ('alertmanager = ["http://a:9093", "https://b/prefix/"]', ("http://a:9093", "https://b/prefix")),
        ('alertmanager = ["http://a:9093", "http://a:9093/"]', ("http://a:9093",)),
        ("alertmanager = []", ()),
        ('alertmanager = ""', ()),
    ],
)
def test_alertmanagers_are_a_list_or_a_text_with_commas(
    tmp_path: Path, toml: str, found: tuple[str, ...]
) -> None:
    notify = loaded(tmp_path, toml)
    assert notify.alertmanagers == found
    assert notify.configured is bool(found)


def test_the_environment_is_stronger_and_has_the_secrets(tmp_path: Path) -> None:
    notify = loaded(
        tmp_path,
        'alertmanager = "http://file:1"\nalertmanager_user = "gate"',
        {
            "HEADGATE_ALERTMANAGER": "http://env:1,http://env:2",
            "HEADGATE_ALERTMANAGER_PASSWORD": "p",
            "HEADGATE_WEBHOOK": "https://hooks/secret",
            "HEADGATE_WEBHOOK_TOKEN": "t",
        },
    )
    assert notify.alertmanagers == ("http://env:1", "http://env:2")
    assert (notify.alertmanager_password, notify.webhook, notify.webhook_token) == (
        "p",
        "https://hooks/secret",
        "t",
    )


def test_a_childs_environment_names_the_same_receivers_and_no_others(tmp_path: Path) -> None:
    environ = {
        "HEADGATE_ALERTMANAGER": "http://a:1,http://b:1",
        "HEADGATE_WEBHOOK": "http://c:1",
        "HEADGATE_WEBHOOK_TOKEN": "t",
    }
    settings = load(tmp_path / "none.toml", environ)
    child = load(tmp_path / "none.toml", settings.environment())
    assert (child.notify.alertmanagers, child.notify.webhook) == (settings.notify.alertmanagers, "http://c:1")
    assert load(tmp_path / "none.toml", environ | Settings().environment()).notify == Notify()
    assert set(VARIABLES.values()) <= Settings().environment().keys()


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('alertmanagers = "http://a:1"', "unknown field `alertmanagers`"),
        ("alertmanager = 9093", "Expected `str | array`"),
        ('alertmanager = "a:9093"', "expected http[s]://host[:port][/prefix]"),
        ('alertmanager = "ftp://a:9093"', "expected http[s]://host[:port][/prefix]"),
        ('alertmanager = "http://a:99999"', "expected http[s]://host[:port][/prefix]"),
        ('alertmanager = "http://[::1"', "expected http[s]://host[:port][/prefix]"),
        ('alertmanager = "http://"', "set HEADGATE_ALERTMANAGER, or alertmanager under [notify]"),
        ('alertmanager = "http://a:1/api/v2/alerts"', "expected the address alone; /api/v2/alerts is added"),
        ('alertmanager = "http://a:1?x=1"', "expected the address alone"),
        ('alertmanager = "http://u:p@a:1"', "found a user or a password in the URL"),
        ('webhook = "hooks.example.com/x"', "expected http[s]://host[:port]/path"),
        (
            'webhook = "http://u@a:1"',
            "set webhook_user under [notify] in headgate.toml, and HEADGATE_WEBHOOK_",
        ),
        ('webhook = "http://a"\nwebhook_user = "u"\nwebhook_token = "t"', "found a token and a user"),
        ('webhook = "http://a"\nwebhook_password = "p"', "found a password and no user"),
        ('webhook = "http://a"\nwebhook_token = "a\\nb"', "expected what fits into an HTTP header"),
        ('webhook = "http://a"\nwebhook_user = "a:b"', "expected what fits into an HTTP header"),
        ("group_wait = -1", "$.notify.group_wait"),
        ("resend = 0", "$.notify.resend"),
        ("repeat = 0", "$.notify.repeat"),
        ("timeout = 0", "$.notify.timeout"),
        ('group_by = "model"', "$.notify.group_by"),
        ('ca = "nowhere.pem"', "[notify] ca in headgate.toml: found no file 'nowhere.pem'"),
    ],
)
def test_a_mistake_is_named_with_what_was_expected(tmp_path: Path, toml: str, said: str) -> None:
    with pytest.raises(HeadgateError) as caught:
        loaded(tmp_path, toml)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_webhooks_url_is_not_quoted(tmp_path: Path) -> None:
    for url in ("gopher://hooks.example.com/T0/secret", "http://u:secret@hooks.example.com/T0"):
        with pytest.raises(HeadgateError) as caught:
            loaded(tmp_path, f'webhook = "{url}"')
        assert "secret" not in str(caught.value)
    assert place("https://hooks.example.com:8443/T0/secret?key=1") == "https://hooks.example.com:8443"


def test_secrets_without_a_receiver_are_nobodys_mistake(tmp_path: Path) -> None:
    assert load(tmp_path / "none.toml", {"HEADGATE_WEBHOOK_PASSWORD": "p"}).notify.webhook_password == "p"
