"""Custom metrics: how the names of `metrics.samples` and those of the catalogue keep out of each other's way.

A sample's name is its metric's name, in the view `metrics` and in rules. Where the catalogue has a metric of
that name, which other people's numbers must not be mixed with, it is written behind `samples.`; a rule may
write any custom metric so, to say that it means no other.
"""

import difflib

from schemas.records import Sample
from streams.metrics import catalogue, drift

PREFIX = "samples."

LIKE = 0.86
"""From this similarity on a name counts as a misspelt one. `rmse` is 0.857 like `mse`, and somebody's own."""


SKEW = 300_000
"""A `ts` that is more than so much (ms) after the Kafka timestamp is replaced by that."""


def event_time(sample: Sample, timestamp: int) -> int:
    """When (ms) a sample with this Kafka timestamp was taken: its `ts`, unless that is skewed."""
    return timestamp if sample.ts > timestamp + SKEW else sample.ts


def reserved(name: str) -> bool:
    """Whether samples of that name are shown under another one."""
    return catalogue.find(name) is not None or name in drift.METRICS or name.startswith(PREFIX)


def metric(name: str) -> str:
    """The metric that samples called `name` make."""
    return PREFIX + name if reserved(name) else name


def name(metric: str) -> str | None:
    """What samples are called that make `metric`; None where it is none of theirs."""
    if metric.startswith(PREFIX):
        return metric.removeprefix(PREFIX)
    return None if reserved(metric) else metric


def pattern() -> str:
    """A regular expression (RE2) of the names that are reserved for other reasons than `PREFIX`, for SQL."""
    names = [each.name for each in catalogue.METRICS]
    cut = [name.removesuffix(catalogue.CUT_OFF) for name in names if name.endswith(catalogue.CUT_OFF)]
    plain = [name for name in names if not name.endswith(catalogue.CUT_OFF)]
    return f"^(?:{'|'.join([*plain, *drift.METRICS])}|(?:{'|'.join(cut)})@[1-9][0-9]*)$"


def meant(metric: str) -> str | None:
    """The metric of the catalogue that somebody who wrote `metric` may have meant; None where it is like
    none."""
    if metric.startswith(PREFIX):
        return None
    stem, _, k = metric.partition("@")
    names = [each.name for each in catalogue.METRICS]
    written = f"{stem}{catalogue.CUT_OFF}" if k else metric
    found = difflib.get_close_matches(written, [*names, *drift.METRICS], n=1, cutoff=LIKE)
    return found[0].replace(catalogue.CUT_OFF, f"@{k}" if k else catalogue.CUT_OFF) if found else None
