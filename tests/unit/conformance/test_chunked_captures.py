"""A body that came in chunks is joined in a file that ends with the judgement."""

from __future__ import annotations

import gc
import warnings

import pytest

from conformance.validation import judge

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n\r\n"
CAPTURES = [
    HEAD % kind + b"3\r\nabc\r\n5\r\n" + end
    for kind in (b"application/soap+xml", b"application/dicom+json", b"text/plain")
    for end in (b"defgh\r\n0\r\n\r\n", b"def")
]


@pytest.mark.parametrize("capture", CAPTURES)
def test_no_file_of_a_capture_stays_open(capture: bytes):
    gc.collect()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        report = judge(capture, "capture")
        gc.collect()

    assert report.findings
    assert [str(one.message) for one in told] == []
