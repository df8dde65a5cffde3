"""What holds of every alert on its way to Alertmanager."""

import re

from hypothesis import given
from hypothesis import strategies as st

from schemas.records import YEAR_2000, YEAR_2300, Alert
from streams.notify.alertmanager import OURS, escape, from_alertmanager, to_alertmanager, unescape

NAMES = st.text(max_size=12) | st.sampled_from(
    ["model", "alertname", "severity", "value", "U__a", "_", "a-b", "a_b"]
)
TEXTS = st.dictionaries(NAMES, st.text(max_size=8), max_size=4)
TIMES = st.integers(YEAR_2000, YEAR_2300 - 1)
NUMBERS = st.none() | st.floats(allow_nan=False)


@st.composite
def alerts(draw: st.DrawFn) -> Alert:
    """As the judge writes them: resolved if and only if there is an end."""
    start, end = draw(TIMES), draw(st.none() | TIMES)
    return Alert(
        alert_id=draw(st.text(min_size=1, max_size=40)),
        model=draw(st.text(max_size=9)),
        rule=draw(st.text(max_size=9)),
        status="firing" if end is None else "resolved",
        severity=draw(st.text(max_size=9)),
        starts_at=start,
        ends_at=end,
        value=draw(NUMBERS),
        threshold=draw(NUMBERS),
        labels=draw(TEXTS),
        annotations=draw(TEXTS),
    )


@given(alerts())
def test_there_and_back_is_the_same_alert(alert: Alert) -> None:
    assert from_alertmanager(to_alertmanager(alert)) == alert


@given(alerts())
def test_every_name_that_is_posted_is_one_that_alertmanager_takes(alert: Alert) -> None:
    posted = to_alertmanager(alert)
    for name in [*posted.labels, *posted.annotations]:
        assert re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name)
    assert len(posted.labels) == len(OURS) + len(alert.labels)


@given(st.lists(NAMES, unique=True))
def test_no_two_names_become_one(names: list[str]) -> None:
    escaped = [escape(name, OURS) for name in names]
    assert len(set(escaped)) == len(names)
    assert [unescape(name) for name in escaped] == names
