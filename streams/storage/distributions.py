"""The queries behind `latencies`, `reliability` and `sources`: what charts draw that one number does not
say. Counts add up over panes, arms and versions, as everything does.
"""

from schemas.clickhouse import PROGRESS
from streams.metrics.histogram import GAMMA, ZERO
from streams.metrics.scored import TENTHS
from streams.storage.windows import PANE, Windows, merged


def latencies(database: str, window: int = PANE) -> str:
    """A row for each bin of a window's latencies: how many predictions (`ok` and `timeout`) took more than
    `lower_ms` and up to `upper_ms`, which are within 2 % of each other.
    """
    windows = Windows(database, window)
    return f"""\
SELECT
    pane, seconds, {windows.series},
    if(bin = {ZERO}, 0, pow({GAMMA!r}, bin - 1)) AS lower_ms,
    if(bin = {ZERO}, 0, pow({GAMMA!r}, bin)) AS upper_ms,
    number AS count
FROM
    {windows.series_of(merged("bins", "latency"))}
ARRAY JOIN mapKeys(bins) AS bin, mapValues(bins) AS number"""


def reliability(database: str, window: int = PANE) -> str:
    """The reliability diagram: a row for each tenth of the range of scores in a window's final panes, with
    its `pairs` of score and truth, the sum of their `scores` and the `positives` among them.
    """
    windows = Windows(database, window)
    return f"""\
SELECT
    pane, seconds, {windows.series},
    tenth / {TENTHS} AS score_from,
    (tenth + 1) / {TENTHS} AS score_to,
    found[1] AS pairs,
    found[2] AS scores,
    found[3] AS positives
FROM
    {windows.series_of(merged("tenths", "reliability"))}
ARRAY JOIN mapKeys(tenths) AS tenth, mapValues(tenths) AS found"""


def sources(database: str) -> str:
    """How far the join has read each partition of the event topics: `clock` is the highest event time read,
    and panes with a deadline before `passed` are final as far as it goes.
    """
    return f"""\
SELECT partition, max(clock) AS clock, max(time) AS passed
FROM {PROGRESS.full_name(database)} FINAL
GROUP BY partition"""
