"""multipart/related as it is written, read back by the reader of the SOAP side."""

from __future__ import annotations

import re

from shared.dicom.multipart import closing, content_type, new_boundary, part_head
from shared.http.media_type import decode_media_type
from shared.http.multipart import DelimiterScanner, Mark, PartBegins


def test_what_is_written_is_read_back_to_the_byte():
    boundary = new_boundary()
    contents = [b"", b"\r\n--", b"a\r\n"]
    message = b"".join(
        part_head(boundary, [("Content-Type", "application/dicom")]) + content for content in contents
    ) + closing(boundary)

    parts: list[bytes] = []
    for event in DelimiterScanner(boundary).feed(message):
        if isinstance(event, PartBegins):
            parts.append(b"")
        elif isinstance(event, bytes):
            parts[-1] += event
        else:
            assert event in Mark

    assert parts == contents


def test_the_type_of_the_parts_is_quoted():
    written = content_type("xyz")

    assert re.search(r'; type="application/dicom"', written)
    assert decode_media_type(written).parameter("boundary") == "xyz"
