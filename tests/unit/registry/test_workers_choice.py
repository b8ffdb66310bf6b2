"""What a worker that does not lead may answer itself, by the octets of the message."""

from __future__ import annotations

import pytest

from registry.workers import is_plain


@pytest.mark.parametrize(
    "body",
    [
        b"<Envelope/>",
        b"\xef\xbb\xbf<Envelope/>",
        b"<?xml version='1.0'?><Envelope/>",
        b'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n<Envelope/>',
        b"<?xml version='1.0' encoding = 'us-ascii'?><Envelope/>",
        b'\xef\xbb\xbf<?xml version="1.0" encoding="utf-8"?><Envelope/>',
    ],
)
def test_names_stand_as_they_are_in_utf_8_and_ascii(body: bytes):
    assert is_plain(body)


@pytest.mark.parametrize(
    "body",
    [
        "<OneTimeUse/>".encode("utf-16"),
        "<OneTimeUse/>".encode("utf-16-le"),
        "<OneTimeUse/>".encode("utf-32-be"),
        "<?xml version='1.0' encoding='cp037'?><OneTimeUse/>".encode("cp037"),
        b"<?xml version='1.0' encoding='UTF-7'?><a>+ADw-OneTime</a>",
        b"<?xml version='1.0' encoding='iso-8859-1'?><a/>",
        b"<?xml version='1.0' encoding='utf-8",
        b" <a/>",
        b"",
    ],
)
def test_an_encoding_that_could_hide_a_name_is_not_plain(body: bytes):
    assert not is_plain(body)
