"""What gateways send is valid by the published schemas, whether they ask or answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.policy import HTTP
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from shared.errors import TooManyResults
from shared.http.client import http_client
from shared.messages.iti18 import ITI18
from shared.messages.iti38 import ITI38
from shared.messages.iti39 import ITI39
from shared.messages.iti43 import ITI43, RetrieveDocumentSetRequest
from shared.messages.rad69 import RAD69
from shared.messages.rad75 import RAD75
from shared.settings import TlsSettings
from tests.support import schemas
from tests.support.community import envelope_in, post
from tests.support.gateway import WEST, World, a_fragment, a_query, an_imaging_request, at, world
from tests.support.schemas import assert_valid

DOCUMENT = RetrieveDocumentSetRequest(documents=(at(WEST, "2.1"), at(WEST, "2.9")))
IMAGE = an_imaging_request(at(WEST, "2.1"), at(WEST, "2.9"))


@asynccontextmanager
async def filled(folder: Path) -> AsyncIterator[World]:
    async with world(folder) as two:
        two.west.documents["2.999.2.20", "2.1"] = b"two"
        two.west.fragments = [a_fragment("2.1"), b'<rim:ObjectRef id="urn:uuid:5"/>']
        two.west.query_errors = (TooManyResults("more than 1,000", location="urn:uuid:7"),)
        yield two


@pytest.mark.parametrize(
    ("side", "transaction", "request_value", "schema"),
    [
        ("initiating", ITI18, a_query(), schemas.QUERY),
        ("responding", ITI38, a_query(home=WEST), schemas.QUERY),
        ("initiating", ITI43, DOCUMENT, schemas.DOCUMENTS),
        ("responding", ITI39, DOCUMENT, schemas.DOCUMENTS),
        ("initiating", RAD69, IMAGE, schemas.DOCUMENTS),
        ("responding", RAD75, IMAGE, schemas.DOCUMENTS),
    ],
    ids=lambda value: getattr(value, "number", None),
)
async def test_answers_are_valid(
    tmp_path: Path, side: str, transaction: Any, request_value: Any, schema: Any
):
    async with filled(tmp_path) as two:
        url = getattr(two.initiating if side == "initiating" else two.responding, side)
        async with http_client(TlsSettings(), peers=(url,)) as http:
            answer = await post(http, transaction, url, request_value)

    envelope = envelope_in(answer)
    (body,) = envelope.find("{http://www.w3.org/2003/05/soap-envelope}Body")
    assert_valid(etree.fromstring(etree.tostring(body)), schema)
    (action,) = envelope.iter("{http://www.w3.org/2005/08/addressing}Action")
    assert action.text == transaction.response_action
    if transaction.mtom:
        head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
        _, part = message_from_bytes(head + answer.content, policy=HTTP).iter_parts()
        assert part.get_content_type() == "application/dicom"
        assert part.get_payload(decode=True) == b"two"
