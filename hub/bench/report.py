"""What is kept of a run: one JSON file, one small SVG that can be read without it, and lines for the terminal."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from hub.bench.measure import Figure, Result

WIDTH, ROW, LEFT, RIGHT = 860, 34, 330, 150  # pixels
BAR = WIDTH - LEFT - RIGHT
REACHED, MISSED, PLAIN, GOAL_LINE = "#2b7a4b", "#b3541e", "#3b6ea5", "#222222"


def write(results: Sequence[Result], facts: Mapping[str, Any], *, json_file: Path) -> Path:
    """Write the results beside each other as JSON and SVG; returns the SVG's path."""
    json_file.parent.mkdir(parents=True, exist_ok=True)
    json_file.write_text(json.dumps(as_json(results, facts), indent=2) + "\n")
    picture = json_file.with_suffix(".svg")
    picture.write_text(svg([figure for result in results for figure in result.figures]))
    return picture


def as_json(results: Sequence[Result], facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **facts,
        "results": {
            result.name: {
                "figures": [
                    {
                        "name": one.name,
                        "unit": one.unit,
                        "median": one.value,
                        "rounds": list(one.rounds),
                        "goal": one.goal,
                        "goal_is": "at most" if one.lower_is_better else "at least",
                        "reached": one.reached,
                    }
                    for one in result.figures
                ],
                **result.notes,
            }
            for result in results
        },
    }


def line_of(figure: Figure) -> tuple[str, str, str, str]:
    """Give name, value, goal and verdict of a figure as words."""
    goal = "" if figure.goal is None else f"{'<=' if figure.lower_is_better else '>='} {number(figure.goal)}"
    verdict = {None: "", True: "reached", False: "missed"}[figure.reached]
    return figure.name, f"{number(figure.value)} {figure.unit}", goal, verdict


def number(value: float) -> str:
    """Write a number as people read it: 8,000, 31.4, 0.62."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def svg(figures: Sequence[Figure]) -> str:
    """Draw a bar per figure, each on its own scale, with a line where its goal is."""
    height = ROW * len(figures) + 46
    box = f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="14"'
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box} role="img" aria-label="Benchmark figures, each with its goal">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for at, figure in enumerate(figures):
        body += _bar(figure, 10 + at * ROW)
    foot = "Median of the rounds; each bar has its own scale. The black line is the goal; thin marks are the rounds."
    body += [f'<text x="10" y="{height - 12}" font-size="12" fill="#444444">{foot}</text>', "</svg>"]
    return "\n".join(body) + "\n"


def _bar(figure: Figure, top: int) -> list[str]:
    scale = max(*figure.rounds, figure.goal or 0.0, 1e-9) * 1.08
    colour = {None: PLAIN, True: REACHED, False: MISSED}[figure.reached]
    middle, long = top + ROW // 2, figure.value / scale * BAR
    parts = [
        f'<text x="{LEFT - 10}" y="{middle + 5}" text-anchor="end">{escape(figure.name)}</text>',
        f'<rect x="{LEFT}" y="{top + 6}" width="{long:.1f}" height="{ROW - 12}" fill="{colour}"/>',
        f'<text x="{LEFT + BAR + 8}" y="{middle + 5}">{escape(number(figure.value) + " " + figure.unit)}</text>',
    ]
    for one in figure.rounds:
        x = LEFT + one / scale * BAR
        parts.append(f'<path d="M{x:.1f} {middle - 4}v8" stroke="#888888" stroke-width="1"/>')
    if figure.goal is not None:
        x = LEFT + figure.goal / scale * BAR
        parts.append(f'<path d="M{x:.1f} {top + 2}v{ROW - 4}" stroke="{GOAL_LINE}" stroke-width="2"/>')
    return parts
