"""What the demo says besides its story: where to look, what was decided and why, how long it took, and if the
books agree.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from infra.demo import models
from infra.demo.observer import Observer
from infra.demo.producer import Book, Shop
from schemas.settings import Settings

COMPARED = ("predictions", "impressions", "clicks", "recall@5", "recall@10")


class Line(NamedTuple):
    """One total: what the shop counted and what ClickHouse says."""

    version: str
    total: str
    shop: int
    clickhouse: int


def books(observer: Observer, shop: Shop) -> Iterator[Line]:
    """Every total of every version, from both sides."""
    found = observer.metrics(*COMPARED)
    for version in sorted(shop.books.keys() | found.keys()):
        book = shop.books.get(version, Book()).as_metrics()
        sums = found.get(version, {})
        for metric in COMPARED:
            yield Line(version, metric, book[metric], int(sums[metric].numerator) if metric in sums else 0)
        relevant = sums["recall@5"].denominator if "recall@5" in sums else 0
        yield Line(version, "relevant", book["relevant"], int(relevant or 0))


def books_agree(observer: Observer, shop: Shop) -> bool:
    """Whether all totals are equal, and nothing was lost on the way."""
    return all(line.shop == line.clickhouse for line in books(observer, shop)) and not observer.lost()


def summarize(console: Console, observer: Observer, shop: Shop) -> bool:
    """Prints the summary; answers whether everything is as it must be."""
    console.rule("What was decided, and why")
    for stamped in observer.releases:
        release = stamped.release
        console.print(
            f"generation {release.generation}: [bold]{release.phase}[/bold]: {release.reason}",
            highlight=False,
        )
    _print_times(console, observer)
    console.rule("The shop's books and ClickHouse")
    table = Table("version", "total", "shop", "ClickHouse", "")
    lines = list(books(observer, shop))
    for line in lines:
        table.add_row(
            line.version,
            line.total,
            f"{line.shop:,}",
            f"{line.clickhouse:,}",
            "=" if line.shop == line.clickhouse else "≠",
        )
    console.print(table)
    lost = observer.lost()
    if lost:
        console.print(
            "Records that did not count: " + ", ".join(f"{name} {count}" for name, count in lost.items())
        )
    passed = _verdicts(observer) | {
        "every request was answered": shop.waiting == 0,
        "ClickHouse's totals equal the shop's": all(line.shop == line.clickhouse for line in lines),
        "no record was lost or late": not lost,
    }
    console.rule("Result")
    for claim, holds in passed.items():
        console.print(f"{'[green]yes' if holds else '[bold red]NO '}[/]  {claim}", highlight=False)
    return all(passed.values())


def while_it_runs(settings: Settings) -> str:
    """The endpoints, for those who look on."""
    return (
        f"Look on, as long as this runs: ClickHouse at {settings.clickhouse.url} "
        f"(database {settings.clickhouse.database}), Kafka at {settings.kafka.brokers}"
    )


STAY = "Everything is gone now; to look around in it: make demo ARGS=--keep"
"""The last words where it does not stay up."""


def where_to_look(settings: Settings) -> str:
    """For `--keep`: endpoints, first queries, and how a Grafana finds it."""
    url, database = settings.clickhouse.url, settings.clickhouse.database
    curl = f"curl '{url}/?database={database}' -d"
    headgate = os.path.relpath(Path(sys.executable).with_name("headgate"))
    return f"""
The stack stays up; Ctrl-C ends it. In another terminal:
  export HEADGATE_KAFKA={settings.kafka.brokers} HEADGATE_CLICKHOUSE={url}
  {headgate} release status {models.MODEL}

ClickHouse answers SQL over HTTP at {url}, user {settings.clickhouse.user}, no password:
  {curl} "SELECT pane, version, arm, value, lower, upper FROM metrics
    WHERE metric = 'ctr' AND version != '' ORDER BY pane DESC LIMIT 20 FORMAT PrettyCompact"
  {curl} "SELECT ts, generation, phase, stable, candidate, weight, reason FROM releases
    ORDER BY generation FORMAT Vertical"
  {curl} "SELECT ts, request_id, version, status, items, scores FROM example_predictions
    ORDER BY ts DESC LIMIT 3 FORMAT Vertical"
  {curl} "SELECT name FROM system.tables WHERE database = '{database}' AND engine = 'View'"

A Grafana with the plug-in grafana-clickhouse-datasource shows it all, in the folder Headgate:
  {headgate} dashboards export dashboards
  GF_PATHS_PROVISIONING=$PWD/dashboards grafana server      # or copy the folder to its provisioning
"""


def _verdicts(observer: Observer) -> dict[str, bool]:
    releases = [stamped.release for stamped in observer.releases]
    last = releases[-1]
    return {
        f"{models.RETRAINED} was promoted": any(
            release.stable == models.RETRAINED and release.phase == "watching" for release in releases
        ),
        f"{models.BROKEN} was rolled back": last.phase == "rolled_back" and last.stable == models.RETRAINED,
        "every worker acknowledged every generation": all(
            observer.acknowledged(release.generation) is not None for release in releases
        ),
    }


def _print_times(console: Console, observer: Observer) -> None:
    """From the start of the bad release over the decision to the last worker's ack, by Kafka's timestamps."""
    rollback = observer.releases[-1]
    started = next(stamped for stamped in observer.releases if stamped.release.candidate == models.BROKEN)
    seen = observer.acknowledged(started.release.generation)
    done = observer.acknowledged(rollback.release.generation)
    if seen is None or done is None:
        return
    console.print(
        f"{models.BROKEN}: first served to decision [bold]{(rollback.timestamp - seen) / 1000:.1f} s[/bold] "
        f"(it had {started.release.weight:.0%} of the users), decision to the last worker's acknowledgement "
        f"[bold]{done - rollback.timestamp} ms[/bold]",
        highlight=False,
    )
