"""Options that commands have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xdsi.remembered import remembered


def _found(context: typer.Context, config: Path | None) -> Path | None:
    return config if config is not None or context.resilient_parsing else remembered(Path.cwd())


Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="TOML file with settings; without it, that of the community which xdsi up runs in this folder."
        " The environment wins over both.",
        callback=_found,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print ids alone, one a line.")]
