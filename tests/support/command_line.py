"""The command line that people type at, made once for each of its commands: most take less time than that."""

from __future__ import annotations

from functools import cache
from typing import Any

import typer

from xdsi.cli import build


@cache
def command_line(command: str) -> Any:
    """What `xdsi.cli.build` makes, ready to be called or looked at."""
    return typer.main.get_command(build(command))
