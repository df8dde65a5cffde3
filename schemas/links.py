"""A link from what was decided to where people look: `[grafana] url` of the settings, filled in."""

from string import Formatter
from urllib.parse import quote

FIELDS = ("model", "version", "from", "to")
"""What such a link may name in braces; `from` and `to` are epoch ms, as Grafana takes them."""
MARGIN = 600_000
"""So much (ms) before and after what it is about a link shows."""


def mistake(template: str) -> str | None:
    """What is wrong with a template, or None."""
    try:
        names = [name for _, name, *_ in Formatter().parse(template) if name is not None]
    except ValueError as error:
        return str(error)
    unknown = [name for name in names if name not in FIELDS]
    return f"found {{{unknown[0]}}}, expected one of {', '.join(FIELDS)}" if unknown else None


def render(template: str, model: str, version: str | None, start: int, end: int | None) -> str | None:
    """The link about the time from `start` to `end` (ms; None: until now); None without a template.

    >>> render("https://grafana/d/headgate?var-model={model}&from={from}&to={to}", "a b", None, 10**12, None)
    'https://grafana/d/headgate?var-model=a%20b&from=999999400000&to=now'
    """
    if not template:
        return None
    words = {
        "model": quote(model, safe=""),
        "version": quote(version or "", safe=""),
        "from": str(start - MARGIN),
        "to": "now" if end is None else str(end + MARGIN),
    }
    return template.format_map(words)
