"""Writes the dashboards, and how Grafana is to find them and ClickHouse, as provisioning files."""

import json
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from infra.grafana import model, overview, pipeline, release
from infra.grafana.elements import DATA_SOURCE, to_json
from schemas.settings import ClickHouse

DASHBOARDS = (overview.DASHBOARD, model.DASHBOARD, release.DASHBOARD, pipeline.DASHBOARD)
FOLDER = "Headgate"
"""The folder in Grafana."""
HTTPS, HTTP = 8443, 8123
"""ClickHouse's ports for HTTP where the address names none."""


def dashboards() -> dict[str, str]:
    """The dashboards' JSON by file name."""
    return {
        f"{dashboard.uid}.json": json.dumps(to_json(dashboard, DASHBOARDS), indent=2, ensure_ascii=False)
        + "\n"
        for dashboard in DASHBOARDS
    }


def provisioning(clickhouse: ClickHouse, folder: str) -> dict[str, str]:
    """Grafana's provisioning files by name: the data source, whose password Grafana takes from the variable
    HEADGATE_CLICKHOUSE_PASSWORD of its own environment, and the dashboards in `folder`, as Grafana sees it.
    """
    address = urlsplit(clickhouse.url)
    secure = address.scheme == "https"
    source = {
        "name": "Headgate",
        **DATA_SOURCE,
        "isDefault": True,
        "editable": False,
        "jsonData": {
            "protocol": "http",
            "host": address.hostname,
            "port": address.port or (HTTPS if secure else HTTP),
            "secure": secure,
            "username": clickhouse.user,
            "defaultDatabase": clickhouse.database,
        },
        "secureJsonData": {"password": "$HEADGATE_CLICKHOUSE_PASSWORD"},
    }
    provider = {
        "name": "headgate",
        "folder": FOLDER,
        "type": "file",
        "allowUiUpdates": True,
        "options": {"path": folder},
    }
    return {
        "datasources/headgate.yaml": _yaml({"apiVersion": 1, "datasources": [source]}),
        "dashboards/headgate.yaml": _yaml({"apiVersion": 1, "providers": [provider]}),
    }


def export(directory: Path, clickhouse: ClickHouse) -> list[Path]:
    """Writes all of it under `directory`, which Grafana takes as its provisioning folder; answers the
    files.
    """
    board = directory / "headgate"
    files = provisioning(clickhouse, str(board.resolve()))
    files |= {f"headgate/{name}": text for name, text in dashboards().items()}
    paths = []
    for name, text in sorted(files.items()):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths


def _yaml(value: object) -> str:
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True))
