"""`headgate silence`: which alerts are recorded, but not sent, until when, and who has said so."""

import argparse
import difflib
import sys
import time
import uuid
from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from infra.commands import kafka
from infra.commands.output import ago, duration, instant, print_json
from infra.commands.silence_log import about, published
from schemas import signing, topics
from schemas.errors import HeadgateError
from schemas.policies import Duration
from schemas.records import ENCODER, Silence, problem
from schemas.records.checks import LONGEST_SILENCE
from schemas.settings import Settings
from streams import registry
from streams.log import Output
from streams.notify import silencing

REMEMBERED = 7 * 86_400_000
"""Silences that ended so long ago (ms) leave the topic when another is made; ClickHouse keeps them."""

DIGITS = 12
"""Of a silence's id, which people type."""


def configure(parser: argparse.ArgumentParser) -> None:
    """add, list, end."""
    parser.description = (
        "A silence keeps alerts of a model from being sent to Alertmanager and webhooks, for a while. They\n"
        "are recorded all the same, and one that still fires in the end is sent then. Of what was sent\n"
        "before, the end is sent too, silence or not."
    )
    actions = parser.add_subparsers(required=True, dest="action", metavar="ACTION", title="actions")
    add = actions.add_parser("add", help="silence a model's alerts, or some of them", allow_abbrev=False)
    add.add_argument("model", metavar="MODEL", help='the model; "" for alerts that are about none')
    add.add_argument("rule", metavar="RULE", nargs="?", help="of this rule only")
    add.add_argument(
        "--label",
        action="append",
        type=label,
        default=[],
        metavar="NAME=VALUE",
        help="only with this label (severity is one); again for another, which it must have too",
    )
    add.add_argument(
        "--for", dest="span", type=span, required=True, metavar="TIME", help="such as 30m, 2h; at most 30d"
    )
    add.add_argument("--reason", required=True, metavar="TEXT", help="why, for whoever wonders")
    show = actions.add_parser("list", help="the silences that hold now", allow_abbrev=False)
    show.add_argument("model", metavar="MODEL", nargs="?", help="this model's only")
    end = actions.add_parser("end", help="end a silence early", allow_abbrev=False)
    end.add_argument("silence_id", metavar="ID", help="its id, or how that begins")
    for action in (add, end):
        action.add_argument(
            "--actor", default=kafka.default_actor(), help="who does it; default: %(default)s"
        )
    for action in (add, show, end):
        action.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Does the named action."""
    made = _made(arguments, _now()) if arguments.action == "add" else None
    needed = (topics.SILENCES, topics.POLICIES, topics.RELEASES, topics.ALERTS)
    with kafka.connected(settings, *needed):
        if made is not None:
            return _add(settings, arguments, made)
        if arguments.action == "end":
            return _end(settings, arguments)
        return _list(settings, arguments)


def label(text: str) -> tuple[str, str]:
    """A command line's `NAME=VALUE`. Raises `argparse.ArgumentTypeError` for what is none."""
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected NAME=VALUE")
    return name, value


def span(text: str) -> int:
    """A command line's duration, in ms. Raises `argparse.ArgumentTypeError` for what is none."""
    try:
        return round(duration(text) * 1_000)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a time such as 30m or 2h") from error


def _made(arguments: argparse.Namespace, now: int) -> Silence:
    """What the command line asks for. Raises `HeadgateError` for what cannot be."""
    silence = Silence(
        model=arguments.model,
        silence_id=uuid.uuid4().hex[:DIGITS],
        ts=now,
        ends_at=now + arguments.span,
        actor=_said("--actor", arguments.actor),
        reason=_said("--reason", arguments.reason),
        rule=arguments.rule,
        labels=_labels(arguments.label),
    )
    if problem(silence, now) is not None:
        found, longest = Duration(arguments.span), Duration(LONGEST_SILENCE)
        raise HeadgateError(f"--for: found {found}, expected more than 0s and at most {longest}")
    return silence


def _add(settings: Settings, arguments: argparse.Namespace, silence: Silence) -> int:
    output = Output(settings)
    for old in published(settings).ended(silence.ts - REMEMBERED):
        output.send(topics.SILENCES, silencing.key(old), None)
    _send(settings, output, silence)
    for doubt in _doubts(settings, silence):
        print(f"note: {doubt}", file=sys.stderr)
    if arguments.json:
        print_json(silence)
    else:
        print(
            f"{_about(silence)}: silenced until {instant(silence.ends_at)} ({ago(arguments.span)}); "
            f"`headgate silence end {silence.silence_id}` ends it earlier"
        )
    return 0


def _doubts(settings: Settings, silence: Silence) -> Iterator[str]:
    """Why it may silence nothing."""
    if not settings.notify.configured:
        yield registry.NOBODY_TO_NOTIFY
    if silence.model:
        known = _models(settings, silence.ts)
        if silence.model not in known:
            near = difflib.get_close_matches(silence.model, known)
            meant = f"; did you mean {' or '.join(near)}?" if near else ""
            yield (
                f"found model {silence.model!r}, expected one with a policy, a release, "
                f"or alerts of the last {ago(REMEMBERED)}{meant}"
            )


def _models(settings: Settings, now: int) -> list[str]:
    """Those that may have alerts, by what is said of them in Kafka."""
    said = [
        *kafka.read(settings, topics.POLICIES),
        *kafka.read(settings, topics.RELEASES),
        *kafka.read(settings, topics.ALERTS, now - REMEMBERED),
    ]
    return sorted({entry.key.decode(errors="replace") for entry in said if entry.key and entry.value})


def _end(settings: Settings, arguments: argparse.Namespace) -> int:
    now, wanted = _now(), arguments.silence_id
    held = published(settings).in_force(now)
    found = [silence for silence in held if wanted and silence.silence_id.startswith(wanted)]
    if len(found) != 1:
        several = f"{len(found)} silences beginning with {wanted!r}: {', '.join(s.silence_id for s in found)}"
        raise HeadgateError(
            f"found {several if found else f'no silence {wanted!r} that holds'}, expected one; "
            "`headgate silence list` shows them"
        )
    silence = silencing.ended(found[0], _said("--actor", arguments.actor), now)
    _send(settings, Output(settings), silence)
    if arguments.json:
        print_json(silence)
    else:
        print(f"{_about(silence)}: no longer silenced; what still fires is sent now")
    return 0


def _send(settings: Settings, output: Output, silence: Silence) -> None:
    value = ENCODER.encode(silence)
    headers = signing.keyring(settings.signing).sign(value)
    output.send(topics.SILENCES, silencing.key(silence), value, headers=headers)
    output.flush(2 * kafka.PATIENCE)


def _list(settings: Settings, arguments: argparse.Namespace) -> int:
    now = _now()
    held = published(settings).in_force(now, arguments.model)
    if arguments.json:
        print_json(held)
    elif held:
        Console(highlight=False).print(_table(held, now))
    else:
        of = "" if arguments.model is None else f" of {arguments.model}"
        print(f"nothing{of} is silenced")
    return 0


def _table(held: list[Silence], now: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("id", no_wrap=True)
    table.add_column("silenced", overflow="fold")
    table.add_column("until")
    table.add_column("by", overflow="fold")
    table.add_column("why", overflow="fold", ratio=1)
    for silence in held:
        table.add_row(
            silence.silence_id,
            Text(_about(silence)),
            f"{instant(silence.ends_at)} ({ago(silence.ends_at - now)})",
            Text(silence.actor),
            Text(silence.reason),
        )
    return table


def _about(silence: Silence) -> str:
    """Which alerts of whom, in words."""
    return f"{silence.model or '(no model)'}, {about(silence)}"


def _labels(pairs: list[tuple[str, str]]) -> dict[str, str] | None:
    for name in {name for name, _ in pairs}:
        values = sorted({value for other, value in pairs if other == name})
        if len(values) > 1:
            raise HeadgateError(
                f"--label {name}: found {' and '.join(values)}, expected one value: an alert has one; "
                "add a silence for each"
            )
    return dict(pairs) or None


def _said(option: str, text: str) -> str:
    if not text.strip():
        raise HeadgateError(f"{option}: found nothing, expected some words")
    return text


def _now() -> int:
    return time.time_ns() // 1_000_000
