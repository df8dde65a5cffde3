"""Every panel of Grafana's dashboards has what it shows: its SQL, expanded as the plug-in does, on the real
engine.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
import yaml

from infra.grafana import model, overview, release
from infra.grafana.elements import DATA_SOURCE, Dashboard, Panel, Query
from infra.grafana.export import DASHBOARDS, dashboards, export
from schemas.records import (
    Ack,
    Alert,
    CommandRecord,
    DeadLetter,
    Distribution,
    Evidence,
    Feedback,
    Finding,
    Findings,
    Outlook,
    PolicyRecord,
    Prediction,
    Profile,
    Release,
    Request,
    Turn,
)
from schemas.settings import ClickHouse, Settings
from streams.storage import NAMES
from tests.contract.grafana_macros import ALL, View, expand, settled
from tests.contract.view_world import DAY, HOUR, MINUTE, NOON, Database, opened, pane, progress

BARE = [(dashboard, panel) for dashboard in DASHBOARDS for row in dashboard.rows for panel in row.panels]
PANELS = [pytest.param(*pair, id=f"{pair[0].uid}: {pair[1].title}") for pair in BARE]
CHOSEN: Mapping[str, str | list[str]] = {
    "model": "it's",
    "version": ALL,
    "resolution": "auto",
    "method": "psi",
    "segment": "surface",
    "test": "ctr worse_by 0",
    "request": "",
}
ABSENT = {"ends_at", "key", "last_error", "mode", "reason", "unseen"}
"""Columns that may well have nothing to say."""
LOOK = View(NOON - MINUTE, NOON + 10 * MINUTE, 15_000, CHOSEN)


def panes() -> Iterator[msgspec.Struct]:
    """Ten minutes of a model with two versions, in which everything that is shown occurs."""
    sums = {
        "predictions": 100.0, "errors": 2.0, "slow": 5.0, "timed": 98.0, "latency_ms": 3_000.0,
        "impressions": 980.0, "clicks": 49.0, "conversions": 3.0,
        "relevant": 60.0, "relevant_predictions": 45.0,
        "reciprocal_rank": 20.0, "hits@5": 40.0, "places@5": 225.0, "hit_predictions@5": 35.0, "ndcg@5": 21.0,
        "average_precision@5": 19.0, "pairs": 980.0, "positives": 49.0, "log_loss": 200.0,
        "late": 1.0, "unmatched": 2.0, "unanswered": 3.0,
    }  # fmt: skip
    for number in range(10):
        for version, arm in (("v1", "stable"), ("v2", "candidate")):
            for segment in ("", "surface"):
                yield pane(
                    NOON + number * MINUTE,
                    model="it's", version=version, arm=arm, segment=segment,
                    segment_value="home" if segment else "", sums=sums, latency={150: 90, 200: 8},
                    positive_scores={-60: 30, -40: 19}, negative_scores={-70: 900, -60: 31},
                    reliability={0: [900.0, 40.0, 38.0], 1: [80.0, 12.0, 11.0]},
                    features={"age": [30, 40, 30 + number], "score": [50, 50]},
                    quality={"age": [100 + number, 3, 1, 0, 0]},
                )  # fmt: skip


@pytest.fixture(scope="module")
def filled(settings: Settings) -> Iterator[Database]:
    ages = Distribution(counts=[30, 40, 30], edges=[18.0, 65.0], lowest=0.0, highest=100.0, deviation=20.0)
    score = Distribution(counts=[60, 40], edges=[0.5], lowest=0.0, highest=1.0, deviation=0.25)
    evidence = {"test": "ctr worse_by 0", "statistic": 3.1, "boundary": 2.9, "effect": -0.2}
    finding = Finding(
        "ctr worse_by 0", "open", effect=-0.1, lower=-0.3, upper=0.1, limit=0.0, fails="below", statistic=1.5,
        boundary=2.9, values={"v2": 0.045, "v1": 0.05}, samples={"v2": 980.0, "v1": 980.0}, needed=900,
        alpha=0.05,
    )  # fmt: skip
    with opened(settings) as database:
        database.write(*panes(), progress(NOON + 9 * MINUTE))
        for version in ("v1", "v2"):
            database.write(
                Profile(model="it's", version=version, ts=NOON, features={"age": ages}, score=score)
            )
        for number in range(10):
            look = Outlook(at=NOON + number * MINUTE, context=Findings(findings=[finding]))
            database.write(Evidence(model="it's", ts=look.at, history=[Turn(2)], outlook=look), first=number)
        for generation, phase in enumerate(("stable", "canary", "rolled_back"), 1):
            database.write(
                Release(
                    model="it's", generation=generation, ts=NOON + generation * MINUTE, stable="v1",
                    candidate="v2" if phase == "canary" else None, weight=0.1, phase=phase,  # type: ignore[arg-type]
                    decision_id=f"d{generation}", reason="because", evidence=evidence,
                ),
                Ack(
                    model="it's", worker="w1", ts=NOON + generation * MINUTE + 40, kind="ack",
                    generation=generation, status="applied", loaded=["v1", "v2"],
                ),
                first=generation,
            )  # fmt: skip
        database.write(
            Alert(
                alert_id="a1", model="it's", rule="slow", status="firing", severity="page",
                starts_at=NOON + MINUTE, value=250.0, threshold=200.0, labels={"metric": "latency_p99_ms"},
                annotations={"summary": "too slow"},
            ),
            CommandRecord(
                model="it's", ts=NOON + MINUTE, command="start", command_id="c", actor="ann", version="v2"
            ),
            DeadLetter(
                ts=NOON + MINUTE, topic="feedback.events", partition=0, offset=3, stage="join", reason="no ts"
            ),
            PolicyRecord(model="it's", ts=NOON, policy=msgspec.Raw(b'{"model": "it\'s"}'), actor="ann"),
        )  # fmt: skip
        for number in range(2):
            request_id = f"r/{number}"
            database.write(
                Request(
                    request_id=request_id, ts=NOON + number, model="it's", items=["a", "b"], user="of-a-user",
                    inputs={"item": msgspec.Raw(b"[[1], [2]]")}, features={"age": 40.0}, surface="home", k=2,
                    segments={"surface": "home"},
                ),
                Prediction(
                    request_id=request_id, ts=NOON + number + 5, model="it's", version="v1", arm="stable",
                    status="ok", latency_ms=4.0, items=["b", "a"], scores=[0.51234, 0.2], shown=1,
                ),
                Feedback(request_id=request_id, ts=NOON + 900, kind="click", item="b"),
                first=number,
            )  # fmt: skip
        yield database


def seen(database: Database, dashboard: Dashboard, look: View = LOOK) -> View:
    """What a dashboard is looked at with, to the last variable."""
    return settled(dashboard, look, lambda sql: str(database.client.command(sql)))


def answer(database: Database, query: Query, look: View) -> tuple[list[str], list[tuple[Any, ...]]]:
    result = database.client.query(expand(query.sql, look))
    return list(result.column_names), [tuple(row) for row in result.result_rows]


@pytest.mark.parametrize(("dashboard", "panel"), PANELS)
def test_a_panel_gets_the_columns_that_it_needs_and_is_not_empty(
    filled: Database, dashboard: Dashboard, panel: Panel
) -> None:
    names, rows = answer(filled, panel.query, seen(filled, dashboard))
    assert set(panel.query.columns) <= set(names)
    assert rows, panel.title
    for column in set(panel.query.columns) - ABSENT:
        at = names.index(column)
        assert any(row[at] is not None for row in rows), column
    if "time" in names:  # the plug-in tells series apart only if rows come in the order of time
        times = [row[names.index("time")] for row in rows]
        assert times == sorted(times)


def test_panels_work_by_the_hour_and_for_chosen_versions(filled: Database) -> None:
    look = LOOK._replace(variables={**CHOSEN, "resolution": "1h", "version": ["v1", "v2"]})
    for dashboard in (model.DASHBOARD, release.DASHBOARD):
        chosen = seen(filled, dashboard, look)
        hidden = [f"${{{variable.name}}}" for variable in dashboard.variables if not variable.label]
        panels = [panel for row in dashboard.rows for panel in row.panels]
        found = [panel for panel in panels if any(name in panel.query.sql for name in hidden)]
        assert len(found) > 3
        for panel in found:
            _, rows = answer(filled, panel.query, chosen)
            assert rows, panel.title


def test_there_is_a_view_for_each_resolution(filled: Database) -> None:
    for resolution in ("pane", "1m", "1h"):
        look = LOOK._replace(variables={**CHOSEN, "resolution": resolution})
        for dashboard in DASHBOARDS:
            for variable in dashboard.variables:
                if not variable.label:
                    assert seen(filled, dashboard, look).variables[variable.name] in NAMES


@pytest.mark.parametrize(
    ("hours", "view"), [(6, "series"), (7, "series_1m"), (7 * 24, "series_1m"), (30 * 24, "series_1h")]
)
def test_the_longer_the_time_the_coarser_the_windows(filled: Database, hours: int, view: str) -> None:
    look = LOOK._replace(end=LOOK.start + hours * HOUR)
    for dashboard in (model.DASHBOARD, release.DASHBOARD):
        assert seen(filled, dashboard, look).variables["series"] == view


def test_whoever_wants_single_panes_of_a_week_gets_them(filled: Database) -> None:
    look = LOOK._replace(end=LOOK.start + 7 * DAY, variables={**CHOSEN, "resolution": "pane"})
    assert seen(filled, model.DASHBOARD, look).variables["series"] == "series"


def test_nothing_is_shown_of_another_model(filled: Database) -> None:
    other = LOOK._replace(variables=dict(CHOSEN) | {"model": "other"})
    for dashboard in DASHBOARDS:
        if any(variable.name == "model" for variable in dashboard.variables):
            for row in dashboard.rows:
                for panel in row.panels:
                    _, rows = answer(filled, panel.query, seen(filled, dashboard, other))
                    assert [r for r in rows if any(r)] == [], panel.title


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)
def test_variables_and_annotations_have_values(filled: Database, dashboard: Dashboard) -> None:
    for variable in dashboard.variables:
        if variable.sql:
            _, rows = answer(filled, Query(variable.sql, ()), LOOK)
            assert rows, variable.name
    for annotation in dashboard.annotations:
        names, rows = answer(filled, annotation.query, LOOK)
        assert {"time", "text", "tags"} <= set(names)
        assert rows, annotation.name


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)
def test_panels_lie_side_by_side_and_have_numbers_of_their_own(dashboard: Dashboard) -> None:
    board = json.loads(dashboards()[f"{dashboard.uid}.json"])
    numbers = [panel["id"] for panel in board["panels"]]
    assert len(set(numbers)) == len(numbers)
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + i, place["y"] + j) for i in range(place["w"]) for j in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)
def test_links_lead_to_dashboards_that_there_are(dashboard: Dashboard) -> None:
    text = dashboards()[f"{dashboard.uid}.json"]
    uids = set(re.findall(r"headgate-[a-z]+(?=[?'\"])", text)) - {DATA_SOURCE["uid"]}
    assert uids == {one.uid for one in DASHBOARDS}


def column(database: Database, dashboard: Dashboard, title: str, name: str) -> list[Any]:
    """A column of the panel that is called so."""
    [panel] = [panel for row in dashboard.rows for panel in row.panels if panel.title == title]
    names, rows = answer(database, panel.query, seen(database, dashboard))
    return [row[names.index(name)] for row in rows]


def test_an_alert_leads_to_its_models_dashboard_at_its_time(filled: Database) -> None:
    half_an_hour = 30 * MINUTE
    at = NOON + MINUTE
    assert column(filled, overview.DASHBOARD, "Alerts", "link") == [
        f"/d/headgate-model?var-model=it%27s&from={at - half_an_hour}&to={at + half_an_hour}"
    ]


def test_a_decision_leads_to_the_release_at_its_time(filled: Database) -> None:
    links = column(filled, release.DASHBOARD, "Decisions", "link")
    assert links[0] == (
        f"/d/headgate-release?var-model=it%27s&from={NOON - 27 * MINUTE}&to={NOON + 33 * MINUTE}"
    )
    [annotation] = [one for one in model.DASHBOARD.annotations if one.name == "Decisions"]
    names, rows = answer(filled, annotation.query, LOOK)
    assert all(link in row[names.index("text")] for link, row in zip(reversed(links), rows, strict=True))


def test_an_example_leads_to_all_records_of_its_request(filled: Database) -> None:
    panels = [panel for row in model.DASHBOARD.rows if row.title == "Examples" for panel in row.panels]
    assert len(panels) == 3
    [link, _] = column(filled, model.DASHBOARD, panels[0].title, "link")
    asked = parse_qs(urlsplit(link).query)
    assert asked["var-request"] == ["r/1"]
    one = LOOK._replace(
        start=int(asked["from"][0]), end=int(asked["to"][0]), variables={**CHOSEN, "request": "r/1"}
    )
    for panel in panels:
        names, rows = answer(filled, panel.query, seen(filled, model.DASHBOARD, one))
        assert [row[names.index("request_id")] for row in rows] == ["r/1"], panel.title


def test_the_id_of_a_request_is_typed_and_nothing_is_typed_at_first() -> None:
    board = json.loads(dashboards()["headgate-model.json"])
    [variable] = [one for one in board["templating"]["list"] if one["name"] == "request"]
    assert variable["type"] == "textbox"
    assert variable["current"]["value"] == ""
    assert "hide" not in variable


def test_evidence_is_drawn_with_the_bound_that_it_is_held_against(filled: Database) -> None:
    title = "Effect and its bound"
    drawn = [column(filled, release.DASHBOARD, title, name) for name in ("effect", "lower", "upper", "bound")]
    assert [set(values) for values in drawn] == [{-0.1}, {-0.3}, {0.1}, {0.0}]


def test_what_is_exported_is_what_grafana_provisions(tmp_path: Path) -> None:
    paths = export(tmp_path, ClickHouse(url="https://clickhouse.example:9443", user="grafana"))
    assert {str(path.relative_to(tmp_path)) for path in paths} == {
        "datasources/headgate.yaml",
        "dashboards/headgate.yaml",
        *(f"headgate/{dashboard.uid}.json" for dashboard in DASHBOARDS),
    }
    [source] = yaml.safe_load((tmp_path / "datasources/headgate.yaml").read_text())["datasources"]
    assert {key: source[key] for key in DATA_SOURCE} == DATA_SOURCE
    assert source["jsonData"]["host"] == "clickhouse.example"
    assert source["jsonData"]["port"] == 9443
    assert source["jsonData"]["secure"] is True
    [provider] = yaml.safe_load((tmp_path / "dashboards/headgate.yaml").read_text())["providers"]
    assert Path(provider["options"]["path"]) == tmp_path / "headgate"


def test_no_password_is_written(tmp_path: Path) -> None:
    for path in export(tmp_path, ClickHouse(password="sesame")):
        assert "sesame" not in path.read_text()
