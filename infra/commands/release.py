"""`headgate release`: operators' commands to the judge, and what became of them."""

import argparse
import sys
import time
import uuid
from contextlib import closing, suppress

import msgspec
from rich.console import Console
from rich.live import Live
from rich.text import Text

from infra.commands import kafka, release_verify
from infra.commands.output import ago, duration, print_json
from infra.commands.release_panel import panel
from infra.commands.release_view import Status, View
from schemas import signing, topics
from schemas.errors import HeadgateError
from schemas.records import ENCODER, Codec, CommandRecord, Release
from schemas.settings import Settings
from streams.judge.writer import force_rollback
from streams.log import Output

REFRESH = 0.5
"""Seconds between pictures of `status --watch`."""

ACTIONS = {
    "start": "release a version, in the policy's steps (a model's first is stable at once)",
    "promote": "make the running release's new version stable now",
    "rollback": "go back to the version before",
    "pause": "stay at the present share of traffic",
    "resume": "go on after a pause",
    "abort": "end the running release, back to the stable version",
}


NEEDED = (
    topics.POLICIES,
    topics.COMMANDS,
    topics.RELEASES,
    topics.ACKS,
    topics.EVIDENCE,
    topics.ALERTS,
    topics.SILENCES,
)


class Outcome(msgspec.Struct):
    """What `--json` prints for a command. `acknowledged`: the workers that have applied the release; without
    `--wait` neither that nor `release` is known.
    """

    command_id: str | None
    release: Release | None
    acknowledged: list[str]


def configure(parser: argparse.ArgumentParser) -> None:
    """The six commands, and status."""
    parser.description = (
        "Tells the judge what you want of a release; what it decides by itself stands in the policy.\n"
        "Every step is a generation: a record in control.releases that each serving worker acknowledges."
    )
    actions = parser.add_subparsers(required=True, dest="action", metavar="ACTION", title="actions")
    for name, text in ACTIONS.items():
        action = actions.add_parser(name, help=text, allow_abbrev=False)
        action.add_argument("model", metavar="MODEL")
        needed = None if name == "start" else "?"
        action.add_argument("version", metavar="VERSION", nargs=needed, help=_about_version(name))
        action.add_argument("--reason", metavar="TEXT", help="why, for whoever reads it later")
        action.add_argument(
            "--actor", default=kafka.default_actor(), help="who does it; default: %(default)s"
        )
        action.add_argument(
            "--generation",
            type=_generation,
            metavar="N",
            help="refuse unless this generation stands, as `release status` shows it",
        )
        action.add_argument("--wait", action="store_true", help="until every live worker has applied it")
        action.add_argument(
            "--timeout",
            type=duration,
            default=60.0,
            metavar="TIME",
            help="for --wait; such as 30s, 2m; default: 60s",
        )
        action.add_argument("--json", action="store_true", help="print JSON")
        if name == "start":
            action.add_argument(
                "--shadow", action="store_true", help="let it answer in the shadow only: nobody sees it"
            )
        if name == "rollback":
            action.add_argument(
                "--force",
                action="store_true",
                help="without the judge: when it is down, or must not be waited for",
            )
    verify = actions.add_parser(
        "verify",
        help="make every decision again from the log, and compare",
        description=release_verify.DESCRIPTION,
        formatter_class=parser.formatter_class,
        allow_abbrev=False,
    )
    verify.add_argument("model", metavar="MODEL")
    verify.add_argument("--json", action="store_true", help="print JSON")
    status = actions.add_parser("status", help="what stands, and who has acknowledged it", allow_abbrev=False)
    status.add_argument("model", metavar="MODEL")
    status.add_argument("--watch", action="store_true", help="until Ctrl-C")
    status.add_argument(
        "--json", action="store_true", help="print JSON; with --watch a line whenever it changes"
    )


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Does the named action."""
    forced = arguments.action == "rollback" and arguments.force
    # In an emergency nothing stands in the way that is not needed.
    needed = (topics.RELEASES,) if forced and not arguments.wait else NEEDED
    with kafka.connected(settings, *needed):
        if arguments.action == "verify":
            return release_verify.run(settings, arguments)
        if arguments.action == "status":
            return _watch(settings, arguments) if arguments.watch else _status(settings, arguments)
        if forced:
            return _force(settings, arguments)
        return _command(settings, arguments)


def _generation(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number, as `status` shows it")
    return int(text)


def _about_version(action: str) -> str:
    if action == "start":
        return "the version, as its folder in the model repository is called"
    if action == "rollback":
        return "refuse unless it is about this version; with no release running: the one to go back to"
    return "refuse unless it is about this version"


def _command(settings: Settings, arguments: argparse.Namespace) -> int:
    record = CommandRecord(
        model=arguments.model,
        ts=_now(),
        command=arguments.action,
        command_id=uuid.uuid4().hex,
        actor=arguments.actor,
        version=arguments.version,
        mode="shadow" if arguments.action == "start" and arguments.shadow else None,
        reason=arguments.reason,
        generation=arguments.generation,
    )
    try:
        Codec[CommandRecord](CommandRecord).decode(ENCODER.encode(record))
    except msgspec.DecodeError as error:
        raise HeadgateError(f"release {record.command}: {error}") from error
    deadline = time.monotonic() + arguments.timeout
    if not arguments.wait:
        _send(settings, record)
        if arguments.json:
            print_json(Outcome(record.command_id, None, []))
        else:
            print(
                f"{record.model}: asked the judge to {record.command}; "
                f"`headgate release status {record.model}` says what becomes of it{_without_judge(record)}"
            )
        return 0
    with closing(View(settings, record.model)) as view:
        _send(settings, record)
        while (release := view.answer(record.command_id)) is None:
            if time.monotonic() > deadline:
                raise HeadgateError(
                    f"{record.model}: no answer from the judge to {record.command} within "
                    f"{arguments.timeout:g} s; is it running (`headgate streams judge`)? It will find the "
                    f"command when it is{_without_judge(record)}"
                )
            view.wait(0.5)
        return _await_workers(view, release, record.command_id, deadline, arguments)


def _without_judge(record: CommandRecord) -> str:
    """What somebody wants to know who has no time to look for the judge."""
    return "; `rollback --force` works without it" if record.command == "rollback" else ""


def _force(settings: Settings, arguments: argparse.Namespace) -> int:
    if arguments.version is not None:
        raise HeadgateError(
            f"rollback --force: found the version {arguments.version}, expected none; "
            "it goes back to the one before"
        )
    deadline = time.monotonic() + arguments.timeout
    release = force_rollback(
        settings, arguments.model, arguments.actor, arguments.reason, _now(), arguments.generation
    )
    if not arguments.wait:
        _report(Outcome(None, release, []), arguments)
        return 0
    with closing(View(settings, arguments.model)) as view:
        return _await_workers(view, release, None, deadline, arguments)


def _await_workers(
    view: View, release: Release, command_id: str | None, deadline: float, arguments: argparse.Namespace
) -> int:
    while True:
        crew = view.crew(release)
        failed = [worker for worker in crew if worker.state == "failed"]
        if failed:
            reasons = "; ".join(f"{worker.worker} ({worker.error or 'no reason given'})" for worker in failed)
            raise HeadgateError(
                f"{release.model}: generation {release.generation} could not be applied by {reasons}"
            )
        missing = [worker.worker for worker in crew if worker.state != "applied"]
        if crew and not missing:
            _report(Outcome(command_id, release, [worker.worker for worker in crew]), arguments)
            return 0
        if time.monotonic() > deadline:
            who = f"{', '.join(missing)} has not applied it" if missing else "no serving worker is live"
            raise HeadgateError(
                f"{release.model}: generation {release.generation} is released, but {who} within "
                f"{arguments.timeout:g} s; `headgate release status {release.model} --watch` follows it"
            )
        view.wait(0.5)


def _report(outcome: Outcome, arguments: argparse.Namespace) -> None:
    if arguments.json:
        print_json(outcome)
        return
    release = outcome.release
    assert release is not None
    took = f", after {ago(_now() - release.ts)}" if outcome.acknowledged else ""
    workers = f"; applied by {', '.join(outcome.acknowledged)}{took}" if outcome.acknowledged else ""
    back = f"; {release.stable} is stable" if release.phase == "rolled_back" else ""
    print(
        f"{release.model}: generation {release.generation}, {release.phase}: {release.reason}{back}{workers}"
    )


def _status(settings: Settings, arguments: argparse.Namespace) -> int:
    with closing(View(settings, arguments.model)) as view:
        status = view.status()
    if arguments.json:
        print_json(status)
    else:
        Console(highlight=False).print(panel(status, _now()))
    return 0


def _watch(settings: Settings, arguments: argparse.Namespace) -> int:
    """Until Ctrl-C, which is no failure here. A model without a release is waited for."""
    follow = _watch_json if arguments.json else _watch_picture
    with closing(View(settings, arguments.model)) as view, suppress(KeyboardInterrupt):
        follow(view)
    return 0


def _watch_json(view: View) -> None:
    last: Status | None = None
    while True:
        status = view.status() if view.standing is not None else None
        if status is not None and _without_heartbeats(status) != last:
            last = _without_heartbeats(status)
            sys.stdout.buffer.write(ENCODER.encode(status) + b"\n")
            sys.stdout.buffer.flush()
        view.wait(REFRESH)


def _watch_picture(view: View) -> None:
    with Live(console=Console(highlight=False), auto_refresh=False) as live:
        while True:
            waiting = Text(f"{view.model} has no release yet")
            live.update(panel(view.status(), _now()) if view.standing is not None else waiting, refresh=True)
            view.wait(REFRESH)


def _without_heartbeats(status: Status) -> Status:
    workers = [msgspec.structs.replace(worker, last_seen=0) for worker in status.workers]
    return msgspec.structs.replace(status, workers=workers)


def _send(settings: Settings, record: CommandRecord) -> None:
    output = Output(settings)
    value = ENCODER.encode(record)
    headers = signing.keyring(settings.signing).sign(value)
    output.send(topics.COMMANDS, record.model, value, headers=headers)
    output.flush(kafka.PATIENCE * 2)


def _now() -> int:
    return time.time_ns() // 1_000_000
