"""Valid MTOM messages, and what becomes of them when pieces are cut out, doubled, put in or changed."""

from __future__ import annotations

import random

from shared.soap.mtom import include
from shared.soap.package import SoapLimits
from shared.xml import PRESCAN_BYTES
from tests.support.soap_exchange import a_keep, a_package, a_part, a_root, an_echo

LIMITS = SoapLimits(message_bytes=10_000_000, document_bytes=100_000, xml_bytes=1_000_000, parts=5)
_FILLER = f"<a:To>{'x' * PRESCAN_BYTES}</a:To>"
MESSAGES = [
    a_package(a_root(a_keep(include("d@x"), "AAEC")), a_part(b"\r\n--b1x\r\n", "Content-ID: <d@x>")),
    a_package(a_root(a_keep("AAEC", "AA&#13;EC", headers=_FILLER))),
    a_package(
        a_part(b"AAEC", "Content-Transfer-Encoding: base64", "Content-ID: <d@x>"),
        a_root(a_keep(include("d@x"))),
    ),
    a_package(a_root(an_echo())),
]
TOKENS = [
    *(
        b"\r\n--b1",
        b"--b1--",
        b"\r\n",
        b"\r\n\r\n",
        b"--",
        b"<x:Document>",
        b"</x:Document>",
        b"<!--",
        b"-->",
        b"]]>",
    ),
    *(
        b"<![CDATA[",
        b"<!DOCTYPE a>",
        b"&#13;",
        b"&amp;",
        b"=",
        b"\x00",
        b"\xff\xfe",
        b"Content-ID: <root@test>\r\n",
    ),
    *(
        b"Content-Transfer-Encoding: base64\r\n",
        b'<?xml version="1.0" encoding="utf-16"?>',
        b":" * 300,
        b"<" * 50,
    ),
]


def mutated(luck: random.Random) -> bytes:
    """One of the messages, changed in up to six places."""
    message = luck.choice(MESSAGES)
    for _ in range(luck.randint(0, 6)):
        at = luck.randrange(len(message) + 1)
        to = at + luck.choice([0, 0, 1, 3, 20, 1_000])
        put = luck.choice([b"", luck.choice(TOKENS), message[at:to] * 2, luck.randbytes(3)])
        message = message[:at] + put + message[to:]
    return message
