#!/bin/sh
# ClickHouse's stock image, as far as compose.yaml and the tests use it: the account from CLICKHOUSE_… variables.
set -eu
export HEADGATE_CLICKHOUSE_USER="${CLICKHOUSE_USER:-default}" HEADGATE_CLICKHOUSE_PASSWORD="${CLICKHOUSE_PASSWORD:-}"
cd /opt/stand-in
exec bin/python -m infra.local.clickhouse_server --host 0.0.0.0 --port 8123 --data /var/lib/clickhouse
