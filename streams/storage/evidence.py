"""The query behind `evidence`: what each test said of a running release, look by look, and at each decision.

Looks are those that the judge tells of every few seconds (`control.evidence`); a decision's are in its
release record, whole, so the last look of a release is always there.
"""

from schemas.clickhouse import EVIDENCE, RELEASES

_TEXTS = ("tests", "states", "fails", "passes", "judged", "reference")
_PLAIN = ("effect", "lower", "upper", "limit", "statistic", "boundary", "needed", "alpha")
_NUMBERS = (
    *_PLAIN,
    *("judged_value", "judged_samples", "reference_value", "reference_samples"),
)

_FINDING = (
    "Tuple(test String, state String, fails String, passes String,"
    f" {', '.join(f'{name} Nullable(Float64)' for name in _PLAIN)},"
    " values Map(String, Nullable(Float64)), samples Map(String, Nullable(Float64)))"
)
"""A finding in a release record's `evidence`; the judged version comes first in both maps."""


def evidence(database: str) -> str:
    """A row for each test at each look.

    `effect`, its bounds `lower` and `upper`, and `threshold` are fractions of the reference's value, or the
    metric's own values where nothing is compared. `proof` is `rollback` or `promotion`, whichever it would be
    proof of that both bounds are on the `side` (`above`, `below`) of the threshold; empty for what is no
    guardrail and no success criterion. `decided`: from a release record, whose generation ended what was
    looked at.
    """
    columns = ", ".join([*_TEXTS, *_NUMBERS])
    return f"""\
SELECT
    ts, model, generation, decided, outcome, cause, verdict,
    splitByChar(' ', test)[1] AS metric, test, state,
    judged_version AS judged, reference_version AS reference,
    effect, lower, upper, threshold,
    multiIf(fails_on != '', 'rollback', passes_on != '', 'promotion', '') AS proof,
    if(fails_on != '', fails_on, passes_on) AS side,
    statistic, boundary, value, reference_value, samples, reference_samples, samples_needed AS needed, alpha
FROM
(
    SELECT ts, model, generation, CAST(false, 'Bool') AS decided, outcome, cause, verdict, {columns}
    FROM {EVIDENCE.full_name(database)} FINAL
    UNION ALL
    SELECT
        ts, model, generation, CAST(true, 'Bool') AS decided,
        JSONExtractString(evidence, 'outcome') AS outcome, JSONExtractString(evidence, 'cause') AS cause,
        reason AS verdict, {_from_records()}
    FROM {RELEASES.full_name(database)} FINAL
)
ARRAY JOIN
    tests AS test, states AS state, fails AS fails_on, passes AS passes_on,
    judged AS judged_version, reference AS reference_version,
    effect, lower, upper, limit AS threshold, statistic, boundary, needed AS samples_needed, alpha,
    judged_value AS value, judged_samples AS samples, reference_value, reference_samples"""


def _from_records() -> str:
    """The columns of both, from a release record's JSON."""
    found = f"JSONExtract(evidence, 'findings', 'Array({_FINDING})')"
    plain = {"tests": "test", "states": "state"} | {name: name for name in ("fails", "passes", *_PLAIN)}
    told = {name: f"f.{field}" for name, field in plain.items()}
    for place, whose in enumerate(("judged", "reference"), 1):
        told[whose] = f"mapKeys(f.samples)[{place}]"
        told[f"{whose}_value"] = f"mapValues(f.values)[{place}]"
        told[f"{whose}_samples"] = f"mapValues(f.samples)[{place}]"
    return ", ".join(f"arrayMap(f -> {told[name]}, {found}) AS {name}" for name in (*_TEXTS, *_NUMBERS))
