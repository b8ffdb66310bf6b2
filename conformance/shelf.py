"""Where reports are kept: a bounded number of files, each under an id that nobody can guess."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

_ID: Final = re.compile(r"[A-Za-z0-9_-]{22}")


class Shelf:
    """The reports below `folder`, at most `most`; the oldest make room.

    Who knows the id of a report may read it: it holds what stands in the file that was judged.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self._folder = folder
        self._most = most

    def put(self, report: Mapping[str, Any]) -> str:
        """Keep a report; its id."""
        self._folder.mkdir(parents=True, exist_ok=True)
        id = secrets.token_urlsafe(16)
        path = self._folder / f"{id}.json"
        unready = path.with_suffix(".part")
        unready.write_text(json.dumps(report), "utf-8")
        unready.replace(path)
        listed = sorted(self._folder.glob("*.json"), key=lambda one: one.stat().st_mtime_ns)
        for oldest in listed[: -self._most]:
            oldest.unlink(missing_ok=True)
        return id

    def find(self, id: str) -> Mapping[str, Any] | None:
        """The report of an id; None when there is none, or no more."""
        if not _ID.fullmatch(id):
            return None
        try:
            report: Mapping[str, Any] = json.loads((self._folder / f"{id}.json").read_bytes())
        except FileNotFoundError:
            return None
        return report
