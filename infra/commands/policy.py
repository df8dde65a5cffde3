"""`headgate policy`: from a file that people edit to the log that every stage and worker follows."""

import argparse
import sys
import time
from pathlib import Path

import msgspec
import yaml

from infra.commands import kafka
from infra.commands.output import instant, print_json
from infra.commands.policy_log import Published, published, validity
from schemas import policies, policy_files, topics
from schemas.policies import Policy
from schemas.records import ENCODER, PolicyRecord
from schemas.settings import Settings
from streams.judge import check
from streams.log import Output


def configure(parser: argparse.ArgumentParser) -> None:
    """apply, show, check."""
    parser.description = (
        "A policy is a YAML file: how one model's metrics are kept, which rules alert, how releases are\n"
        "decided. Everything in it but `model` has a default."
    )
    actions = parser.add_subparsers(required=True, dest="action", metavar="ACTION", title="actions")
    apply = actions.add_parser(
        "apply", help="check policies and publish them, all or none", allow_abbrev=False
    )
    apply.add_argument("--actor", default=kafka.default_actor(), help="who does it; default: %(default)s")
    show = actions.add_parser(
        "show", help="what is published, and from when it is in force", allow_abbrev=False
    )
    show.add_argument("model", nargs="?", metavar="MODEL", help="this model's only")
    verify = actions.add_parser(
        "check", help="report mistakes in policies, publish nothing", allow_abbrev=False
    )
    for action in (apply, verify):
        action.add_argument(
            "files", nargs="+", type=Path, metavar="FILE", help="a policy in YAML, of one model"
        )
    for action in (apply, show):
        action.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Does the named action."""
    if arguments.action == "show":
        return _show(settings, arguments.model, arguments.json)
    loaded = policy_files.load(arguments.files, check.mistakes)
    for file, policy in zip(arguments.files, loaded, strict=True):
        for note in check.notes(policy):
            print(f"{file}: note: {note}", file=sys.stderr)
    if arguments.action == "check":
        for file, policy in zip(arguments.files, loaded, strict=True):
            print(f"{file}: a sound policy for {policy.model}")
        return 0
    return _apply(settings, loaded, arguments.actor, arguments.json)


def _apply(settings: Settings, loaded: list[Policy], actor: str, as_json: bool) -> int:
    now = time.time_ns() // 1_000_000
    with kafka.connected(settings, topics.POLICIES):
        output = Output(settings)
        for policy in loaded:
            raw = msgspec.Raw(ENCODER.encode(policies.to_object(policy)))
            record = PolicyRecord(model=policy.model, ts=now, policy=raw, actor=actor)
            output.send(topics.POLICIES, policy.model, ENCODER.encode(record))
        output.flush(kafka.PATIENCE * 2)
        log = published(settings)
    applied = [_latest(log, policy.model) for policy in loaded]
    if as_json:
        print_json(applied)
    else:
        for one in applied:
            print(f"{one.model}: published, {validity(one)}")
    return 0


def _show(settings: Settings, model: str | None, as_json: bool) -> int:
    with kafka.connected(settings, topics.POLICIES):
        found = [one for one in published(settings) if model in (None, one.model)]
    if as_json:
        print_json(found)
    elif found:
        print("---\n".join(_document(one) for one in found), end="")
    elif model is None:
        print(
            "no policy is published: every model has the defaults; `headgate policy apply FILE` publishes one"
        )
    else:
        print(f"no policy is published for {model}: it has the defaults")
    return 0


def _latest(log: list[Published], model: str) -> Published:
    return next(one for one in reversed(log) if one.model == model)


def _document(one: Published) -> str:
    head = f"# {validity(one)}\n# published {instant(one.published)} by {one.actor}\n"
    return head + yaml.safe_dump(one.policy, sort_keys=False, allow_unicode=True)
