"""ClickHouse as people see it: the views over the tables of `schemas/clickhouse.py`, and bringing a database
up to date with both.

Here and not in `schemas/`, for the views follow from the metrics' catalogue.
"""

from streams.storage.migration import migrate as migrate
from streams.storage.views import NAMES as NAMES
