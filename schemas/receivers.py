"""Who is told of alerts: the section `[notify]` of `headgate.toml`. Not what alerts there are: that is a
policy's (`policies.py`); not what is silenced: that is in `control.silences`.
"""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from schemas.errors import HeadgateError

Seconds = Annotated[float, Meta(gt=0)]

API = "/api/v2/alerts"
"""What is posted to below an Alertmanager's address."""


class Notify(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Receivers of alerts, and how they are told. None by default.

    `alertmanager`: addresses, each of which gets every alert (a list, or one text with commas). `webhook`: a
    URL that gets Alertmanager's webhook payload. Users and, better from the environment, passwords or bearer
    tokens for either. `ca`: a PEM file that both are known by.

    In seconds: `group_wait` is how long a webhook's message waits for others of its group (pages do not),
    `repeat` after how long it is told again of what still fires, `resend` after how long an Alertmanager is,
    and `timeout` how long an answer may take. A group: alerts that are alike in the labels `group_by`.
    """

    alertmanager: str | tuple[str, ...] = ()
    alertmanager_user: str = ""
    alertmanager_password: str = ""
    alertmanager_token: str = ""
    webhook: str = ""
    webhook_user: str = ""
    webhook_password: str = ""
    webhook_token: str = ""
    group_by: tuple[str, ...] = ("model",)
    group_wait: Annotated[float, Meta(ge=0)] = 5.0
    repeat: Seconds = 14_400.0
    resend: Seconds = 60.0
    timeout: Seconds = 10.0
    ca: str = ""

    @property
    def alertmanagers(self) -> tuple[str, ...]:
        """The addresses, each once, without a slash at the end."""
        given = self.alertmanager
        parts = given.split(",") if isinstance(given, str) else given
        return tuple(dict.fromkeys(part.strip().rstrip("/") for part in parts if part.strip()))

    @property
    def configured(self) -> bool:
        """Whether anybody is to be told at all."""
        return bool(self.alertmanagers or self.webhook)


VARIABLES = {
    "alertmanager": "HEADGATE_ALERTMANAGER",
    "alertmanager_password": "HEADGATE_ALERTMANAGER_PASSWORD",
    "alertmanager_token": "HEADGATE_ALERTMANAGER_TOKEN",
    "webhook": "HEADGATE_WEBHOOK",
    "webhook_password": "HEADGATE_WEBHOOK_PASSWORD",
    "webhook_token": "HEADGATE_WEBHOOK_TOKEN",
}
"""Settings that the environment may give, too. A webhook's URL is one of them: many are secrets."""


def check(notify: Notify) -> None:
    """Raises `HeadgateError` for an address that is none, credentials that contradict each other, or a
    certificate that is no file. A webhook's URL is never quoted whole.
    """
    for url in notify.alertmanagers:
        _check_url("alertmanager", url, "http[s]://host[:port][/prefix]")
        if urlsplit(url).path.endswith(API) or urlsplit(url).query:
            raise HeadgateError(
                f"[notify] alertmanager: found {url!r}, expected the address alone; {API} is added to it"
            )
    if notify.webhook:
        _check_url("webhook", notify.webhook, "http[s]://host[:port]/path")
    for of in ("alertmanager", "webhook"):
        if not getattr(notify, of):
            continue
        user, password, token = (getattr(notify, f"{of}_{part}") for part in ("user", "password", "token"))
        if token and (user or password):
            raise HeadgateError(
                f"[notify] {of}: found a token and a user or a password, expected one of the two ways to log "
                f"in; unset {of}_user, or {VARIABLES[f'{of}_token']}"
            )
        if password and not user:
            raise HeadgateError(
                f"[notify] {of}: found a password and no user, expected both; set {of}_user under [notify]"
            )
        if any(character < " " for character in user + password + token) or ":" in user:
            raise HeadgateError(
                f"[notify] {of}: found a user, password or token with a line break or the like (or a user "
                "with a colon), expected what fits into an HTTP header"
            )
    if notify.ca and not Path(notify.ca).is_file():
        raise HeadgateError(
            f"[notify] ca in headgate.toml: found no file {notify.ca!r}, expected one in PEM format"
        )


def place(url: str) -> str:
    """Of a URL what may be shown to anybody: scheme, host and port.

    >>> place("https://hooks.example.com/services/T0/secret?x=1")
    'https://hooks.example.com'
    """
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _check_url(setting: str, url: str, expected: str) -> None:
    try:
        parts = urlsplit(url)
        secret = "@" in parts.netloc
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that do not close, a port that is none
        secret, sound = "@" in url, False
    if secret:
        raise HeadgateError(
            f"[notify] {setting}: found a user or a password in the URL, expected {expected}; set "
            f"{setting}_user under [notify] in headgate.toml, and {VARIABLES[f'{setting}_password']}"
        )
    if not sound:
        shown = repr(url) if setting == "alertmanager" else f"one that begins {url[:8]!r}"
        raise HeadgateError(
            f"[notify] {setting}: found {shown}, expected {expected}; set {VARIABLES[setting]}, or {setting} "
            "under [notify] in headgate.toml"
        )
