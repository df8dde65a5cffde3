"""The queries behind `latencies`, `reliability` and `sources`: what charts draw that one number does not
say. Counts add up over panes, arms and versions, as everything does.
"""

from schemas.clickhouse import PANES, PROGRESS
from streams.metrics.histogram import GAMMA, ZERO
from streams.metrics.scores import TENTHS

_SERIES = "start AS pane, dateDiff('millisecond', start, end) / 1000 AS seconds, model, version, arm"


def latencies(database: str) -> str:
    """A row for each bin of a pane's latencies: how many predictions (`ok` and `timeout`) took more than
    `lower_ms` and up to `upper_ms`, which are within 2 % of each other.
    """
    return f"""\
SELECT
    pane, seconds, model, version, arm,
    if(bin = {ZERO}, 0, pow({GAMMA!r}, bin - 1)) AS lower_ms,
    if(bin = {ZERO}, 0, pow({GAMMA!r}, bin)) AS upper_ms,
    number AS count
FROM
(
    SELECT {_SERIES}, sumMap(latency) AS bins
    FROM {PANES.full_name(database)} FINAL
    WHERE NOT retracted AND segment = ''
    GROUP BY pane, seconds, model, version, arm
    SETTINGS do_not_merge_across_partitions_select_final = 1
)
ARRAY JOIN mapKeys(bins) AS bin, mapValues(bins) AS number"""


def reliability(database: str) -> str:
    """The reliability diagram: a row for each tenth of the range of scores in a final pane, with its `pairs`
    of score and truth, the sum of their `scores` and the `positives` among them.
    """
    return f"""\
SELECT
    pane, seconds, model, version, arm,
    tenth / {TENTHS} AS score_from,
    (tenth + 1) / {TENTHS} AS score_to,
    found[1] AS pairs,
    found[2] AS scores,
    found[3] AS positives
FROM
(
    SELECT {_SERIES}, tenth, sumForEach(listed) AS found
    FROM {PANES.full_name(database)} FINAL
    ARRAY JOIN mapKeys(reliability) AS tenth, mapValues(reliability) AS listed
    WHERE NOT retracted AND segment = ''
    GROUP BY pane, seconds, model, version, arm, tenth
    SETTINGS do_not_merge_across_partitions_select_final = 1
)"""


def sources(database: str) -> str:
    """How far the join has read each partition of the event topics: `clock` is the highest event time read,
    and panes with a deadline before `passed` are final as far as it goes.
    """
    return f"""\
SELECT partition, max(clock) AS clock, max(time) AS passed
FROM {PROGRESS.full_name(database)} FINAL
GROUP BY partition"""
