"""`xdsi doctor` asks the responder of our own certificate, as nodes do that ask it."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.x509 import ocsp

from shared.settings import ServiceSettings
from tests.support.ocsp import NORTH, in_process
from xdsi.checks.certificates import certificates
from xdsi.checks.finding import Severity


@pytest.mark.parametrize(
    ("said", "severity", "told"),
    [
        (ocsp.OCSPCertStatus.GOOD, Severity.OK, "good until"),
        (ocsp.OCSPCertStatus.REVOKED, Severity.ERROR, "calls our certificate revoked"),
        (ocsp.OCSPCertStatus.UNKNOWN, Severity.ERROR, "calls our certificate unknown"),
        (None, Severity.ERROR, "no answer about our own certificate: the responder answers 500"),
    ],
    ids=["good", "revoked", "unknown", "silent"],
)
def test_what_a_responder_says_of_our_certificate_is_told(said: Any, severity: Severity, told: str):
    with in_process() as there:
        there.said = said
        tls = NORTH.settings()["tls"] | {"revocation": "hard", "ocsp": True, "ocsp_url": there.url}
        settings = ServiceSettings(tls=tls)
        (found,) = [one for one in certificates(settings) if one.id == "certificate-ocsp"]

    assert found.severity is severity
    assert told in found.found
