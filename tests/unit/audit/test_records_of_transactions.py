"""What stands in the trail of each transaction, octet for octet but for moment and process."""

from __future__ import annotations

import pytest

from audit_repository.transactions import SERVED_REST as TRAIL_REST
from conformance.pages import SERVED_REST as CONFORMANCE_REST
from gateway.transactions import SERVED as GATEWAY
from imaging_source.transactions import SERVED as SOURCE
from imaging_source.transactions import SERVED_REST as SOURCE_REST
from registry.transactions import SERVED as REGISTRY
from registry.transactions import SERVED_REST as REGISTRY_REST
from repository.transactions import SERVED as REPOSITORY
from repository.transactions import SERVED_REST as REPOSITORY_REST
from shared.rest.served import unrecorded
from tests.support.golden_records import FOLDER, path_of, records, written

RECORDS = records()
SOAP = {
    "registry": REGISTRY,
    "repository": REPOSITORY,
    "imaging source": SOURCE,
    "gateway": GATEWAY,
}
REST = (*REGISTRY_REST, *REPOSITORY_REST, *SOURCE_REST, *TRAIL_REST, *CONFORMANCE_REST)


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_is_what_it_was(name: str):
    assert written(RECORDS[name]()) == path_of(name).read_text("utf-8")


def test_every_file_is_a_record():
    assert {path.name for path in FOLDER.iterdir()} == {path_of(name).name for name in RECORDS}


@pytest.mark.parametrize(
    ("service", "number"),
    [(service, one.transaction.number) for service, served in SOAP.items() for one in served],
)
def test_every_soap_transaction_that_is_served_has_a_record(service: str, number: str):
    assert any(name.startswith(f"{service} {number}") for name in RECORDS)


@pytest.mark.parametrize(
    "served", [one for one in REST if one.audit is not unrecorded], ids=lambda one: one.name
)
def test_every_rest_transaction_that_records_has_a_record(served):
    titles = {
        "Set consent policy": "registry policy set",
        "Remove consent policy": "registry policy not removed",
        "Keep consent document": "registry policy set by a consent",
        "Withdraw consent": "registry consent not withdrawn",
        "Access Consent": "registry consent not set",
        "Break glass": "registry glass not broken",
        "Sign off break": "registry break not signed off",
        "Begin test": "conformance test begun",
    }
    named = titles.get(served.name) or served.number or f"audit repository {served.name}"
    assert any(named in name for name in RECORDS)
