"""What a program in `bench/` is asked and what it tells: a table for people, or one JSON object."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping

Measure = Mapping[str, object]
"""`value`, `unit`, `against` (what it is measured side by side with), `ratio`, and whatever else was seen."""

_FIRST = ("value", "unit", "ratio", "against")


def options(description: str | None, *, short: str) -> argparse.ArgumentParser:
    """The options that every program has; `short` says what its short form leaves out."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--short", action="store_true", help=short)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def show(result: Mapping[str, Measure], *, as_json: bool, heading: str = "") -> None:
    """Print all measures by name."""
    if as_json:
        print(json.dumps(result))
        return
    if heading:
        print(heading)
    width = max(map(len, result))
    for name, measure in result.items():
        value, unit, ratio, against = (measure[key] for key in _FIRST)
        more = "  ".join(f"{key} {seen}" for key, seen in measure.items() if key not in _FIRST)
        print(f"{name:{width}}  {value:>8} {unit:4}  ratio {ratio!s:>5}  (against {against})  {more}")
