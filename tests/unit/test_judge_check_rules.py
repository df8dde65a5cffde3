"""Which rules are possible, and what is said of those that are not."""

from pathlib import Path

import pytest

from schemas import policy_files
from schemas.policies import parse
from schemas.policy_files import PolicyMistakesError
from streams.judge.check import mistakes, notes

BURN = {"objective": 0.99, "factor": 14.4, "windows": ["1h", "5m"]}


def policy(metric: object = "ctr", **rule: object) -> dict[str, object]:
    limits = ("above", "below", "outside", "baseline", "burn_rate", "no_data")
    limit: dict[str, object] = {} if any(name in rule for name in limits) else {"above": 1}
    return {"model": "ranker", "rules": [{"name": "rule", "metric": metric} | limit | rule]}


@pytest.mark.parametrize(
    "good",
    [
        policy(**{"for": {"of": 5, "at_least": 3}}),
        policy(outside=[0.1, 0.3], clear=[0.15, 0.25]),
        policy(outside=[0.1, 0.3], clear=[0.1, 0.3]),
        policy(baseline={"of": "stable"}),
        policy(baseline={"of": "stable"}, where={"arm": "shadow"}),
        policy(baseline={"of": "1d", "sigmas": 3, "over": "3d"}, clear=2),
        policy("latency_p99_ms", baseline={"of": "stable"}),
        policy("roc_auc", baseline={"of": "stable"}),
        policy("predictions", baseline={"of": "7d"}),
        policy("drift_psi", baseline={"of": "moving"}),
        policy("error_rate", burn_rate=BURN, clear=5),
        policy("slow_rate", burn_rate=BURN | {"windows": ["3d", "6h"], "factor": 1}),
        policy("missing_rate", burn_rate=BURN),
        policy("ctr", no_data="5m"),
        policy("gpu_use", no_data="5m", where={"version": "v1"}),
        policy("drift_js", impact={"metric": "recall@5"}),
        policy("drift_psi", impact={"metric": "ctr", "worse_by": 0, "baseline": {"of": "stable"}}),
        policy(labels={"team": "search", "_x1": ""}, summary="s", runbook="https://wiki"),
        policy("error_rate", window="3d"),
    ],
)
def test_these_are_possible(good: dict[str, object]) -> None:
    assert list(mistakes(parse(good))) == []


@pytest.mark.parametrize(
    ("bad", "path", "words"),
    [
        (policy(window="32d"), "window", "at most `31d`"),
        (policy(baseline={"of": "1d"}, window="15s"), "window", "a multiple of the pane `10s`"),
        # clear
        (policy(above=1, clear=[0.1, 0.2]), "clear", "two stand beside `outside` only"),
        (policy(outside=[1, 2], clear=1.5), "clear", "two numbers inside `outside: [1.0, 2.0]`"),
        (policy(outside=[1, 2], clear=[0.5, 1.5]), "clear", "inside `outside: [1.0, 2.0]`"),
        (policy(outside=[1, 2], clear=[1.7, 1.5]), "clear", "inside `outside: [1.0, 2.0]`"),
        (policy(baseline={"of": "1d", "sigmas": 4}, clear=5), "clear", "at most the limit's `4`"),
        (policy(baseline={"of": "1d"}, clear=0), "clear", "expected sigmas"),
        (policy("error_rate", burn_rate=BURN, clear=20), "clear", "a factor of at most `14.4`"),
        (policy(no_data="5m", clear=1), "clear", "over with the first data"),
        # labels
        (policy(labels={"severity": "x"}), "labels.severity", "alerts have that label already"),
        (policy(labels={"model": "x"}), "labels.model", "another name"),
        (policy(labels={"arm": "x"}, where={"arm": "stable"}), "labels.arm", "another name"),
        # no data
        (policy(no_data="15s"), "no_data", "a multiple of the pane `10s`"),
        (policy(no_data="5m", **{"for": "1m"}), "for", "`no_data` says for how long"),
        (policy(no_data="5m", **{"for": {"of": 2, "at_least": 1}}), "for", "Found `for` beside `no_data`"),
        # burn rates
        (policy("ctr", burn_rate=BURN), "burn_rate", "a share of bad events: one of error_rate, slow_rate"),
        (policy("latency_p99_ms", burn_rate=BURN), "burn_rate", "a share of bad events"),
        (policy("errors", burn_rate=BURN), "burn_rate", "a share of bad events"),
        (policy("missing_rate", burn_rate=BURN, where={"feature": "age"}), "burn_rate", "a share of bad"),
        (policy("error_rate", burn_rate=BURN | {"windows": []}), "burn_rate.windows", "Found no windows"),
        (
            policy("error_rate", burn_rate=BURN | {"windows": ["5m", "1h"]}),
            "burn_rate.windows[1]", "Found `1h` after `5m`, expected the longest first",
        ),
        (policy("error_rate", burn_rate=BURN | {"windows": ["1h", "1h"]}), "burn_rate.windows[1]", "once"),
        (policy("error_rate", burn_rate=BURN | {"windows": ["15s"]}), "burn_rate.windows[0]", "a multiple"),
        (policy("error_rate", burn_rate=BURN | {"windows": ["90d"]}), "burn_rate.windows[0]", "at most"),
        (policy("error_rate", burn_rate=BURN | {"factor": 100}), "burn_rate.factor", "less than `100`"),
        # baselines
        (policy("clicks", baseline={"of": "stable"}), "baseline.of", "counts go by the arms' shares"),
        (policy("throughput_rps", baseline={"of": "stable"}), "baseline.of", "a ratio of events"),
        (policy("drift_psi", baseline={"of": "stable"}), "baseline.of", "a ratio of events"),
        (policy("ece", baseline={"of": "stable"}), "baseline.of", "roc_auc"),
        (policy(baseline={"of": "stable", "over": "1d"}), "baseline.over", "it needs no past"),
        (policy(baseline={"of": "stable"}, where={"arm": "stable"}), "where.arm", "candidate or shadow"),
        (policy(baseline={"of": "1d", "over": "3h"}), "baseline.over", "at least `4h`: 24 readings"),
        (policy(baseline={"of": "moving"}, window="2h"), "baseline.over", "at least `2d`"),
        (policy(baseline={"of": "moving", "over": "60d"}), "baseline.over", "at most `31d`"),
        (policy("drift_adwin", baseline={"of": "1d"}), "baseline", "that one counts"),
        (policy("gpu_use", baseline={"of": "1d"}), "baseline", "Found `baseline` on samples"),
        (policy("gpu_use", burn_rate=BURN), "burn_rate", "Found `burn_rate` on samples"),
        # impacts
        (policy("ctr", impact={"metric": "ctr"}), "impact", "expected it on drift: one of drift_psi"),
        (policy("drift_psi", impact={"metric": "drift_js"}), "impact.metric", "a drift, expected what"),
        (policy("drift_psi", impact={"metric": "rule"}), "impact.metric", "no metric of the catalogue"),
        (policy("drift_psi", impact={"metric": "predictions"}), "impact.metric", "good or bad"),
        (policy("drift_psi", impact={"metric": "recall@7"}), "impact.metric", "k: [5, 10]"),
        (
            policy("drift_psi", impact={"metric": "clicks", "baseline": {"of": "stable"}}),
            "impact.baseline.of", "counts go by",
        ),
        (
            policy("drift_psi", impact={"metric": "ctr", "baseline": {"of": "1d", "over": "1h"}}),
            "impact.baseline.over", "at least `4h`",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_path(bad: dict[str, object], path: str, words: str) -> None:
    [(found, mistake)] = mistakes(parse(bad))
    assert found == f"$.rules[0].{path}"
    assert words in mistake


@pytest.mark.parametrize(
    ("rule", "line", "words"),
    [
        ("burn_rate: {objective: 2, factor: 1, windows: [1h]}", 5, "found `2`"),
        ("baseline: {of: yesterday}", 5, "found `yesterday`, expected"),
        (
            "burn_rate:\n      objective: 0.99\n      factor: 14.4\n      windows: [5m, 1h]",
            8,
            "the longest first",
        ),
        ("above: 1\n    for: {of: 3, at_least: 4}", 6, "at_least to be at most of (3)"),
        (
            "above: 1\n    labels:\n      team: a\n      my-team: b",
            8,
            "found `my-team`, expected a label name",
        ),
        ("above: 1\n    no_data: 5m", 3, "found `above, no_data`, expected one of above"),
        ("above: 1\n    impact: {metric: ctr}", 6, "expected it on drift"),
    ],
)
def test_it_is_reported_by_file_and_line(tmp_path: Path, rule: str, line: int, words: str) -> None:
    file = tmp_path / "ranker.yaml"
    file.write_text(f"model: ranker\nrules:\n  - name: one\n    metric: error_rate\n    {rule}\n")
    with pytest.raises(PolicyMistakesError) as caught:
        policy_files.load([file], mistakes)
    [found] = caught.value.lines
    assert found.startswith(f"{file}:{line}: ")
    assert words in found


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (policy(baseline={"of": "moving"}), "the baseline moving says nothing for the first 4h"),
        (policy(baseline={"of": "7d"}), "the baseline 7d says nothing for the first 7d 4h"),
        (policy("drift_psi", impact={"metric": "ctr"}), "the baseline moving says nothing for the first 4h"),
        (policy("error_rate", burn_rate=BURN | {"windows": ["3d", "1h"]}), "begin at marks of 10m"),
        (policy("latency_p99_ms", above=1, window="1h"), "keeps all panes of its window of 1h in memory"),
    ],
)
def test_what_a_rule_costs_or_waits_for_is_noted(made: dict[str, object], words: str) -> None:
    [noted] = notes(parse(made))
    assert noted.startswith("rule rule: ")
    assert words in noted
