# ClickHouse's engine behind its HTTP interface, the local stack's, as an image.
ARG BASE=python:3.11.14-slim-bookworm
FROM ${BASE}
WORKDIR /opt/stand-in
COPY requirements.lock infra/container/locked.py infra/container/stand-in/clickhouse.txt infra/container/stand-in/clickhouse.sh ./
COPY infra infra
COPY schemas schemas
RUN python3 -m venv . \
    && python3 locked.py clickhouse.txt < requirements.lock > clickhouse.lock \
    && bin/pip install --no-cache-dir --require-hashes --no-deps -r clickhouse.lock && chmod +x clickhouse.sh
ENTRYPOINT ["/opt/stand-in/clickhouse.sh"]
