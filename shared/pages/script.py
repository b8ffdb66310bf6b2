"""How a script of pages is given: each is a file of its service, and none comes from elsewhere."""

from __future__ import annotations

from shared.rest.message import HttpResponse


def encode_script(octets: bytes) -> HttpResponse:
    """The script, which browsers may keep for a while."""
    return HttpResponse(
        media_type="text/javascript; charset=utf-8",
        headers={"cache-control": "max-age=300"},
        pieces=(octets,),
    )
