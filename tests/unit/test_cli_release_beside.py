"""How a shadow and a dry run look in a terminal."""

from io import StringIO

from rich.console import Console, Group

from infra.commands.release_beside import imagined, shadow
from streams.judge.releases.beside import Comparison, Report
from streams.judge.releases.dryrun import Would

NOW = 1_800_000_000_000
REPORT = Report(
    shadow="v2",
    stable="v1",
    since=NOW - 60_000,
    samples=(12_345.0, 12_340.0),
    comparisons=(
        Comparison(
            metric="error_rate",
            state="within",
            shadow=0.01,
            stable=0.0101,
            effect=-0.0099,
            lower=-0.2,
            upper=0.19,
        ),
        Comparison(metric="score_psi", state="within", shadow=0.034, limit="above 0.2"),
        Comparison(
            metric="slow_rate",
            state="exceeded",
            shadow=0.15,
            stable=0.05,
            effect=2.0,
            lower=1.5,
            upper=2.5,
            limit="worse_by 0.5",
        ),
        Comparison(metric="mrr", state="too few samples", shadow=0.5, stable=0.4, limit="worse_by 0.1"),
    ),
)


def shown(*parts: object, width: int = 100) -> str:
    out = StringIO()
    Console(file=out, width=width).print(Group(*parts))  # type: ignore[arg-type]
    return out.getvalue()


def test_a_shadow_is_a_line_a_metric_with_what_exceeds_its_limit_first() -> None:
    lines = shown(*shadow(REPORT)).splitlines()
    assert "12,345 predictions of v2, 12,340 of v1" in lines[0]
    assert [line.split()[0] for line in lines[2:]] == ["slow_rate", "score_psi", "mrr", "error_rate"]
    assert "+200.0% (+150.0% to +250.0%)" in lines[2]
    assert "worse_by 0.5: exceeded" in lines[2]
    assert "above 0.2: within" in lines[3]
    assert "worse_by 0.1 (too few samples)" in lines[4]


def test_it_fits_into_eighty_columns() -> None:
    lines = shown(*shadow(REPORT), width=80).splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 8


def test_a_shadow_that_has_not_answered_yet_says_so() -> None:
    text = shown(*shadow(Report(shadow="v2", stable="v1", since=NOW)))
    assert text.startswith("0 predictions of v2, 0 of v1, since 2027-01-15 08:00:00 UTC")


def test_a_dry_run_is_a_line_a_decision_with_when_what_and_why() -> None:
    past = (
        Would("step", NOW - 3_600_000, "v1", 0.5, "step 2 of 2: 0.5 of the traffic"),
        Would("roll back", NOW - 90_000, "v1", 0.0, "proven: ctr worse_by 0"),
    )
    lines = shown(*imagined(past, NOW)).splitlines()
    assert lines[0].split("  ")[0].strip() == "1 h ago"
    assert "step 2 of 2" in lines[0]
    assert "1 m 30 s ago" in lines[1]
    assert "roll back" in lines[1]
    assert "ctr worse_by 0" in lines[1]


def test_nothing_imagined_is_nothing() -> None:
    assert imagined((), NOW) == []
