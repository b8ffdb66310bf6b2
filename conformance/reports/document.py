"""A report as one HTML file that needs nothing else: no script, no file beside it, no request to any host."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from importlib.resources import files
from typing import Final

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE: Final = files("conformance.reports").joinpath("report.css").read_text("utf-8")


def document(title: str, body: Iterable[str]) -> str:
    """The file, of pieces of HTML."""
    return "".join(
        (
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>",
            *body,
            "</main></body></html>",
        )
    )


def table(columns: Iterable[str], rows: Iterable[str]) -> str:
    """A table; rows are HTML."""
    heads = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
