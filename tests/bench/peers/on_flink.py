"""The job in PyFlink SQL: an interval join and a windowing table-valued function, with watermarks per Kafka
partition. Parallelism 1, in a local JVM.
"""

import json
import sys
from pathlib import Path

from pyflink.table import EnvironmentSettings, TableEnvironment

SOURCE = """
    CREATE TABLE {name} (
        {columns}, rowtime AS TO_TIMESTAMP_LTZ(ts, 3), WATERMARK FOR rowtime AS rowtime - INTERVAL '5' SECOND
    ) WITH (
        'connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{brokers}',
        'properties.group.id' = '{group}', 'scan.startup.mode' = 'earliest-offset',
        'format' = 'json', 'json.ignore-parse-errors' = 'true'
    )
"""
PREDICTION = """
    request_id STRING, ts BIGINT, `model` STRING, version STRING, arm STRING,
    latency_ms DOUBLE, items ARRAY<BIGINT>
"""
CLICK = "request_id STRING, ts BIGINT"
ANSWERED = """
    CREATE TEMPORARY VIEW answered AS
    SELECT p.rowtime, p.`model`, p.version, p.arm, p.latency_ms,
        CARDINALITY(p.items) AS shown, c.ts AS clicked
    FROM predictions AS p LEFT JOIN clicks AS c
    ON p.request_id = c.request_id AND c.rowtime BETWEEN p.rowtime AND p.rowtime + INTERVAL '20' SECOND
"""
SINK = """
    CREATE TABLE panes (
        `model` STRING, version STRING, arm STRING, `start` BIGINT,
        predictions BIGINT, impressions BIGINT, clicks BIGINT, latency_ms DOUBLE
    ) WITH (
        'connector' = 'kafka', 'topic' = '{output}', 'properties.bootstrap.servers' = '{brokers}',
        'format' = 'json'
    )
"""
PANES = """
    INSERT INTO panes
    SELECT `model`, version, arm, 1000 * UNIX_TIMESTAMP(CAST(window_start AS STRING)),
        COUNT(*), SUM(shown), COUNT(clicked), SUM(latency_ms)
    FROM TABLE(TUMBLE(TABLE answered, DESCRIPTOR(rowtime), INTERVAL '10' SECOND))
    GROUP BY window_start, window_end, `model`, version, arm
"""


def main(job: dict[str, str]) -> None:
    """Runs until it is ended."""
    tables = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    settings = tables.get_config()
    settings.set("parallelism.default", "1")
    settings.set("table.local-time-zone", "UTC")
    settings.set("pipeline.jars", ";".join(jar.as_uri() for jar in Path(job["jars"]).glob("*.jar")))
    source = {"brokers": job["brokers"], "group": job["group"]}
    tables.execute_sql(
        SOURCE.format(name="predictions", columns=PREDICTION, topic=job["predictions"], **source)
    )
    tables.execute_sql(SOURCE.format(name="clicks", columns=CLICK, topic=job["feedback"], **source))
    tables.execute_sql(SINK.format(**job))
    tables.execute_sql(ANSWERED)
    tables.execute_sql(PANES).wait()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
