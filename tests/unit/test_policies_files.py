"""Policy files: what a person reads when something in them is wrong."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas import policies, policy_files
from schemas.policies import Policy
from schemas.policy_files import PolicyMistakesError

pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, so that files go by short names."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def mistakes_in(text: str | bytes, *checks: policy_files.Check) -> tuple[str, ...]:
    file = Path("p.yaml")
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(PolicyMistakesError) as caught:
        policy_files.load([file], *checks)
    assert str(caught.value) == "\n".join(caught.value.lines)
    return caught.value.lines


def test_a_sound_file_is_its_policy() -> None:
    Path("p.yaml").write_text(
        "# ours\nmodel: ranker\npane: 30s\nrules:\n- {name: a, metric: ctr, below: 1e-3}\n"
    )
    written = {
        "model": "ranker",
        "pane": "30s",
        "rules": [{"name": "a", "metric": "ctr", "below": 0.001}],
    }
    assert policy_files.load([Path("p.yaml")]) == [policies.parse(written)]


def test_several_files_are_read_in_their_order() -> None:
    for model in "ab":
        Path(f"{model}.yaml").write_text(f"model: {model}\n")
    assert [policy.model for policy in policy_files.load([Path("b.yaml"), Path("a.yaml")])] == ["b", "a"]


def test_anchors_and_merges_work() -> None:
    Path("p.yaml").write_text(
        "model: m\nrules:\n- &a {name: a, metric: ctr, below: 1}\n- {<<: *a, name: b}\n"
    )
    assert [rule.name for rule in policy_files.load([Path("p.yaml")])[0].rules] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "model: m\npane: 10\n",
            "2: found `10`, expected a duration such as `10s` (units ms, s, m, h, d) (pane)",
        ),
        (
            "model: m\npane: 7s\n",
            "2: found `7s`, expected a divisor of 1m, or whole minutes that divide 1h (pane)",
        ),
        ("model: m\nimpressions: seen\n", "2: found `seen`, expected one of feedback, shown (impressions)"),
        ("model: m\nk:\n- 5\n- 0\n", "4: found `0`, expected a whole number >= 1 (k[1])"),
        (
            "model: m\nmaturity: soon\n",
            "2: found `soon`, expected `auto` or a duration such as `10m` (maturity)",
        ),
        (
            "model: m\nattribution:\n",
            "2: found nothing, expected an object with window, lateness (attribution)",
        ),
        ("model: m\nk: 5\n", "2: found `5`, expected a list such as `[5]` (k)"),
        ("model: m\nthreshold: 2.5%\n", "2: found `2.5%`, expected a number: 2.5 % is `0.025` (threshold)"),
        (
            "model: m\nrelease: {steps: [10%]}\n",
            "2: found `10%`, expected an object with weight, for (release.steps[0])",
        ),
        ("model: no\n", "1: found `no`, expected text (model)"),
        ("pane: 10s\n", "1: found no `model`, expected one (the policy)"),
        ("- model: m\n", "1: found a list, expected an object (the policy)"),
        (
            "model: m\nrules:\n- name: a\n  metric: ctr\n",
            "3: found `none`, expected one of above, below, outside, baseline, burn_rate, no_data (rules[0])",
        ),
        (
            "model: m\nrelease:\n  steps:\n  - {weight: 0.1}\n  - for: 5m\n    weight: 1.5\n",
            "6: found `1.5`, expected a number <= 1.0 (release.steps[1].weight)",
        ),
        (
            "model: m\nrules:\n- {name: a, metric: ctr, below: 1, where: {arm: stable, surface: 7}}\n",
            "3: found `7`, expected text (rules[0].where[...])",
        ),
    ],
)
def test_a_mistake_has_its_line_what_was_found_and_what_was_expected(text: str, expected: str) -> None:
    assert mistakes_in(text) == (f"p.yaml:{expected}",)


def test_an_unknown_key_is_answered_with_the_known_ones() -> None:
    (line,) = mistakes_in("model: m\ndrift:\n  ksi: 0.2\n")
    assert (
        line == "p.yaml:3: found the unknown key `ksi`, expected one of psi, js, ks, wasserstein (drift.ksi)"
    )


def test_all_mistakes_in_the_shape_are_reported_in_the_files_order() -> None:
    lines = mistakes_in("model: m\nk: [5, x, 0]\nrules:\n- {metric: 5, above: a}\nunknown: 1\npane: 3\n")
    assert [line.split(":")[1] for line in lines] == ["2", "2", "4", "4", "4", "5", "6"]
    assert "found no `name`" in "".join(lines)
    assert "no `metric`" not in "".join(lines), "a mistyped key is not a missing one as well"


def test_all_mistakes_in_the_meaning_are_reported() -> None:
    lines = mistakes_in(
        "model: m\nrules:\n- {name: a, metric: ctr, below: 1}\n- {name: a, metric: ctr}\n"
        "release:\n  steps: [{weight: 0.5}, {weight: 0.1}]\n"
    )
    assert [line.split(":")[1] for line in lines] == ["4", "4", "6"]


def test_a_check_of_somebody_elses_gets_the_line_of_its_path() -> None:
    def check(policy: Policy) -> Iterator[tuple[str, str]]:
        yield "$.rules[1].metric", f"Found `{policy.rules[1].metric}`, expected a metric"
        yield "$.rules[1].where.surface.x", "Found `home`, expected another"
        yield "$.release.steps", "Found no steps, expected one"

    lines = mistakes_in(
        "model: m\nrules:\n- {name: a, metric: ctr, below: 1}\n- name: b\n  below: 1\n  metric: nope\n"
        "  where:\n    surface.x: home\nrelease:\n  alpha: 0.1\n",
        check,
    )
    assert lines == (
        "p.yaml:6: found `nope`, expected a metric (rules[1].metric)",
        "p.yaml:8: found `home`, expected another (rules[1].where.surface.x)",
        "p.yaml:9: found no steps, expected one (release.steps)",
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "1: found nothing, expected a policy"),
        ("# nothing\n", "1: found nothing, expected a policy"),
        (
            "model: m\npane: 1s\npane: 2s\n",
            "3: found the key `pane` again, expected it once; line 2 has it too",
        ),
        ("model: m\n2: x\n", "2: found the key `2`, expected a word; quote it if it is one"),
        (
            "model: m\nthreshold: .nan\n",
            "2: found `.nan`, expected a finite number or text; quote it as text",
        ),
        (
            "model: m\nanswer: 2025-13-01\n",
            "2: found `2025-13-01`, expected a finite number or text; quote it as text",
        ),
        ("model: m\n\tk: [5]\n", "2: expected YAML: found character '\\t' that cannot start any token"),
        (
            "model: m\nrules:\n- name: a\n metric: ctr\n",
            "4: expected YAML: found a line that is indented unlike those that it belongs to",
        ),
        ("model: [m\n", "2: expected YAML: expected ',' or ']', but got '<stream end>'"),
        ("model: m\n---\nmodel: n\n", "2: found a second document, expected one policy a file"),
        ("model: m\nk: *x\n", "2: expected YAML: found undefined alias 'x'"),
        ("model: m\nx: \x01\n", "2: found the character U+0001, expected text"),
        (b"model: m\nx: \xff\n", "2: found the byte 0xff, expected UTF-8"),
        ("model: " + "[" * 5000, "1: found YAML nested without end, expected a policy"),
    ],
)
def test_what_is_no_yaml_or_not_what_a_person_means_is_a_mistake(text: str | bytes, expected: str) -> None:
    assert mistakes_in(text) == (f"p.yaml:{expected}",)


def test_yaml_that_would_run_code_is_refused() -> None:
    (line,) = mistakes_in("model: !!python/object/apply:os.getcwd []\n")
    assert "expected plain YAML without tags" in line


def test_aliases_that_would_grow_without_end_are_only_unknown_keys() -> None:
    layers = "".join(
        f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True)
    )
    lines = mistakes_in(f"model: m\na: &a [x]\n{layers}")
    assert len(lines) == 8


def test_two_policies_for_one_model_are_a_mistake() -> None:
    for name in ("a.yaml", "b.yaml"):
        Path(name).write_text("pane: 10s\nmodel: m\n")
    with pytest.raises(PolicyMistakesError) as caught:
        policy_files.load([Path("a.yaml"), Path("b.yaml")])
    assert caught.value.lines == (
        "b.yaml:2: found a second policy for m, expected one a model; a.yaml has one (model)",
    )


def test_a_file_that_is_not_there_is_said_beside_the_others_mistakes() -> None:
    Path("b.yaml").write_text("pane: 10s\n")
    with pytest.raises(PolicyMistakesError) as caught:
        policy_files.load([Path("a.yaml"), Path("b.yaml"), Path()])
    assert caught.value.lines == (
        "a.yaml: No such file or directory; expected a policy file that we may read",
        "b.yaml:1: found no `model`, expected one (the policy)",
        ".: Is a directory; expected a policy file that we may read",
    )


def test_a_file_of_more_than_a_mebibyte_is_no_policy() -> None:
    (line,) = mistakes_in("#" * (policy_files.LARGEST + 1))
    assert "expected a policy of at most 1048576" in line
