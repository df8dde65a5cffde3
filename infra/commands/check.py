"""`headgate check`: is everything reachable, and as it should be? One line each. It changes nothing but what
ClickHouse lacks of our tables and views.
"""

import argparse
from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from infra.commands import (
    check_clickhouse,
    check_examples,
    check_groups,
    check_policies,
    check_receivers,
    check_signing,
    check_topics,
    kafka,
)
from infra.commands.finding import Finding, State, ok, wrong
from infra.commands.output import print_json
from schemas.errors import HeadgateError
from schemas.settings import Settings

STYLES = {State.OK: "green", State.NOTE: "cyan", State.WRONG: "bold red"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Nothing but the form of the answer."""
    parser.description = (
        "Asks Kafka, ClickHouse and the receivers of alerts whether everything is there and as it should\n"
        "be: topics, tables, policies, who reads and how far. One line each; what is wrong says what to\n"
        "do, and the exit status is then 1.\n\n"
        "Of tables and views it makes those that ClickHouse lacks, where it may, and says so; `headgate\n"
        "schema show` only tells."
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Looks at everything, whatever is wrong before."""
    findings = []
    console = Console(highlight=False, soft_wrap=True)
    for finding in _findings(settings):
        findings.append(finding)
        if not arguments.json:
            _print(console, finding)
    if arguments.json:
        print_json(findings)
    return 1 if any(finding.state is State.WRONG for finding in findings) else 0


def _findings(settings: Settings) -> Iterator[Finding]:
    yield from _kafka(settings)
    yield from check_clickhouse.check(settings)
    yield from check_receivers.check(settings)


def _kafka(settings: Settings) -> Iterator[Finding]:
    subject = f"Kafka {settings.kafka.brokers}"
    try:
        with kafka.connected(settings) as broker:
            brokers = broker.cluster().brokers
            yield ok(subject, f"{brokers} broker{'s' if brokers > 1 else ''}")
            yield from check_topics.check(settings, broker, check_policies.longest(settings, broker))
            yield from check_policies.check(settings, broker)
            asking = check_policies.asking_for_examples(settings, broker)
            yield from check_examples.check(settings, asking)
            yield from check_groups.check(settings, broker, check_examples.stages(settings, asking))
            yield from check_signing.check(settings)
    except HeadgateError as error:
        text, _, remedy = (
            str(error).removeprefix(f"Kafka at {settings.kafka.brokers}").lstrip(": ").partition("; ")
        )
        yield wrong(subject, text, remedy)


def _print(console: Console, finding: Finding) -> None:
    line = Text.assemble(
        (f"{finding.state:<5} ", STYLES[finding.state]), f"{finding.subject}: {finding.text}"
    )
    if finding.remedy:
        line.append(f"; {finding.remedy}", style="dim" if finding.state is State.NOTE else "")
    console.print(line)
