"""What batching gains, as a picture: requests a second over the size of a batch, in multiples of one request
at a time, as SVG."""

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

from tests.bench.serving_core import Point

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 400, 60, 24, 60, 46
TITLE = "What batching gains: requests/s in multiples of one request at a time"
COLOURS = ("#2f6f4f", "#5b7aa8")


def draw(points: Sequence[Point], hardware: str) -> str:
    """The picture: a solid line a model for the worker's core, a dashed one for the bare loop."""
    sizes = sorted({point.batch for point in points})
    nets = list(dict.fromkeys(point.net for point in points))
    first = {point.net: point for point in points if point.batch == sizes[0]}
    lines = [
        (net, kind, [(p.batch, getattr(p, kind) / getattr(first[net], kind)) for p in points if p.net == net])
        for net in nets
        for kind in ("core", "bare")
    ]
    highest = max(gain for _, _, line in lines for _, gain in line) * 1.1

    def place(batch: int, gain: float) -> tuple[float, float]:
        across = math.log2(batch / sizes[0]) / math.log2(sizes[-1] / sizes[0])
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - gain / highest * (
            HEIGHT - TOP - BOTTOM
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" font-family="system-ui, sans-serif" font-size="13" fill="#222">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="12" y="22" font-size="15" font-weight="600">{TITLE}</text>',
        f'<text x="12" y="40" fill="#777">{escape(hardware)}</text>',
    ]
    step = 10 ** math.floor(math.log10(highest)) / 2
    for mark in range(int(highest / step) + 1):
        _, y = place(sizes[0], mark * step)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e3e6ea"/>')
        parts.append(
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="#777">{mark * step:g}×</text>'
        )
    for size in sizes:
        x, _ = place(size, 0)
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 24}" text-anchor="middle" fill="#777">{size}</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 8}" text-anchor="middle">requests in a batch</text>')
    for net, kind, line in lines:
        colour = COLOURS[nets.index(net) % len(COLOURS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*knot) for knot in line))
        dashes = "" if kind == "core" else ' stroke-dasharray="5 4"'
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>')
    for number, (net, kind, _) in enumerate(lines):
        colour = COLOURS[nets.index(net) % len(COLOURS)]
        said = f"{net}: {'the worker’s core' if kind == 'core' else 'bare ONNX Runtime (dashed)'}"
        parts.append(
            f'<text x="{LEFT + 14}" y="{TOP + 14 + 18 * number}" fill="{colour}">{escape(said)}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"
