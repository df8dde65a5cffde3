"""The comparison as a picture: bars of events a second on a logarithmic scale, as SVG."""

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

from tests.bench.race import Outcome

WIDTH, LEFT, RIGHT, ROW, TOP = 760, 150, 170, 30, 46
TITLE = "Joining clicks to predictions: events/s of one process (logarithmic)"
LOWEST = 2.5
"""The power of ten at which the scale starts."""
OURS, DECODING, OTHERS, WRONG = "#2f6f4f", "#8fb8a3", "#5b7aa8", "#c2c8d2"


def draw(outcomes: Sequence[Outcome]) -> str:
    """The picture of all who have a rate, fastest first; those with wrong results are pale."""
    rows = sorted((o for o in outcomes if o.rate), key=lambda o: -o.rate)
    highest = max([LOWEST + 1, *(math.ceil(2 * math.log10(o.rate)) / 2 for o in rows)])
    scale = (WIDTH - LEFT - RIGHT) / (highest - LOWEST)
    height = TOP + ROW * len(rows) + 34
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" '
        'font-family="system-ui, sans-serif" font-size="13" fill="#222">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="12" y="24" font-size="15" font-weight="600">{TITLE}</text>',
    ]
    for power in range(math.ceil(LOWEST), math.floor(highest) + 1):
        x = LEFT + (power - LOWEST) * scale
        parts.append(f'<line x1="{x:.1f}" y1="{TOP - 8}" x2="{x:.1f}" y2="{height - 26}" stroke="#e3e6ea"/>')
        parts.append(
            f'<text x="{x:.1f}" y="{height - 10}" text-anchor="middle" fill="#777">{10**power:,}</text>'
        )
    for number, outcome in enumerate(rows):
        parts += _bar(outcome, TOP + ROW * number, max(2.0, (math.log10(outcome.rate) - LOWEST) * scale))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _bar(outcome: Outcome, y: int, length: float) -> list[str]:
    colour = {"Headgate": OURS, "decoding alone": DECODING}.get(
        outcome.name, OTHERS if outcome.correct else WRONG
    )
    weight = ' font-weight="600"' if outcome.name == "Headgate" else ""
    said = f"{outcome.rate:,.0f}" + ("" if outcome.correct else f", {outcome.clicks:.0%} of the clicks")
    return [
        f'<text x="{LEFT - 10}" y="{y + 15}" text-anchor="end"{weight}>{escape(outcome.name)}</text>',
        f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{ROW - 9}" rx="2" fill="{colour}"/>',
        f'<text x="{LEFT + length + 8:.1f}" y="{y + 15}"{weight}>{said}</text>',
    ]
