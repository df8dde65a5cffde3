"""What an error of ClickHouse says to a person: what is wrong, and what to do where that is not plain."""

import re

LENGTH = 300
"""Characters that are kept of an error: ClickHouse repeats the statement in it."""

_CODE = re.compile(r"\bCode: (\d+)\.")

_LOCKED_OUT = "set user under [clickhouse] in headgate.toml, and HEADGATE_CLICKHOUSE_PASSWORD"
_READ_ONLY = "give this user the right to write, or set another user under [clickhouse] in headgate.toml"
_FULL = "make room on ClickHouse's disk, or keep less ([storage] in headgate.toml)"

_REMEDIES = {
    **dict.fromkeys((192, 193, 194, 516), _LOCKED_OUT),
    **dict.fromkeys((164, 497), _READ_ONLY),
    242: "ClickHouse's replica takes no writes: look at its connection to Keeper and at its disk",
    243: _FULL,
}
"""By ClickHouse's error code."""


def explain(error: BaseException) -> str:
    """What went wrong at the bottom of it and what to do, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split())
    found = _CODE.search(text)
    if found:
        text = text[found.start() :]
    remedy = _FULL if "No space left" in text else _REMEDIES.get(int(found[1]) if found else 0, "")
    said = text[:LENGTH] or type(error).__name__
    return f"{said}; {remedy}" if remedy else said
