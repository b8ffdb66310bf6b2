"""The table of AE titles: a title proves nothing, and a certificate is not a right."""

from __future__ import annotations

from pathlib import Path

import pytest

from imaging_source.dimse.entities import ApplicationEntities
from imaging_source.settings import ImagingSourceSettings
from imaging_source.settings.entities import DimseService
from shared.faults import NodeRefused
from shared.security.caller import Node
from shared.security.peer_certificate import fingerprint_of
from shared.security.rights import Rights
from shared.settings import SettingsError
from tests.support.certificates import communities

NORTH, SOUTH = communities()
STORE, FIND, MOVE, GET, COMMIT = DimseService
TABLE = {
    "WORKSTATION": {
        "host": "ws.example",
        "certificate": "CN=ws,O=South",
        "services": ["find", "move"],
        "destinations": ["WORKSTATION"],
    },
    "CT01": {"services": ["store"]},
    "PACS": {"host": "pacs.example", "services": ["store", "find", "move", "get"]},
}
WORKSTATION = Node(address="10.0.0.5", subject="CN=ws,O=South", fingerprint="00" * 32)
STRANGER = Node(address="10.0.0.6", subject="CN=other,O=South", fingerprint="11" * 32)
OURS = Node(address="10.0.0.7", subject="CN=own", fingerprint=fingerprint_of(NORTH.node.certificate))
HERE = Node(address="127.0.0.1")


def settings(**changes) -> ImagingSourceSettings:
    return ImagingSourceSettings.load(environ={}, **{"application_entities": TABLE} | changes)


def entities(*, tls: bool = True, **changes) -> ApplicationEntities:
    loaded = settings(**(NORTH.settings() if tls else {"xua": "optional"}) | changes)
    return ApplicationEntities(loaded, Rights(loaded))


@pytest.mark.parametrize(
    ("title", "node", "services"),
    [
        # Its certificate stands in the table: it may what stands there, and nothing else.
        ("WORKSTATION", WORKSTATION, {FIND, MOVE}),
        # Not even a node of the community speaks under the title of another.
        ("WORKSTATION", STRANGER, set()),
        ("WORKSTATION", OURS, set()),
        # Without a certificate the table gives the title no right that its node has not.
        ("PACS", STRANGER, set()),
        ("PACS", OURS, {STORE, FIND, MOVE, GET}),
        ("CT01", OURS, {STORE}),
        # A title that is not in the table: what the node may, and data of patients for users alone.
        ("NOBODY", STRANGER, set()),
        ("NOBODY", OURS, {STORE, COMMIT}),
    ],
)
def test_who_may_what(title, node, services):
    table = entities()
    assert {service for service in DimseService if table.may(title, node, service)} == services


def test_a_node_that_the_rights_name_may_what_they_say():
    table = entities(rights={"store": [STRANGER.subject]})
    assert {service for service in DimseService if table.may("NOBODY", STRANGER, service)} == {STORE, COMMIT}
    assert {service for service in DimseService if table.may("CT01", STRANGER, service)} == {STORE}


def test_on_one_machine_without_required_assertions_a_title_without_entry_may_all():
    table = entities(tls=False, application_entities={"CT01": {"services": ["store"]}})
    assert all(table.may("NOBODY", HERE, service) for service in DimseService)
    assert not table.may("CT01", HERE, FIND)


def test_titles_of_the_table_may_call_and_with_it_no_others():
    assert entities().titles == list(TABLE)
    assert entities(calling_ae_titles=["CT02"]).titles == [*TABLE, "CT02"]
    assert entities(application_entities={}).titles == []


def test_a_refusal_names_the_setting_that_would_let_it():
    for title, node, service in (
        ("WORKSTATION", STRANGER, MOVE),
        ("WORKSTATION", WORKSTATION, GET),
        ("NOBODY", OURS, FIND),
    ):
        with pytest.raises(NodeRefused) as refused:
            entities().check(title, node, service)
        assert "APPLICATION_ENTITIES" in refused.value.reason


def test_a_destination_is_one_that_the_table_lets_it_have():
    table = entities()
    to_itself = table.destination("WORKSTATION", "WORKSTATION")
    assert to_itself is not None
    assert to_itself.settings.host == "ws.example"
    assert table.destination("PACS", "WORKSTATION") is None
    assert table.destination("CT01", "NOBODY") is None, "it has no address"
    assert table.destination("PACS", "NOBODY") is not None


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"WS": {"destinations": ["NOWHERE"]}}, "NOWHERE has no address"),
        ({"WS": {"services": ["commit"]}}, "commit needs the address"),
        ({"WS": {"host": "ws.example"}}, "would be called without TLS"),
        ({"WS": {"services": ["print"]}}, "print"),
        ({"WITH\\BACKSLASH": {}}, "no AE title"),
        ({"WS": {"port": 0}}, "port 0"),
    ],
)
def test_a_table_that_cannot_be_is_refused_at_start(table, problem):
    with pytest.raises(SettingsError) as refused:
        ImagingSourceSettings.load(environ={}, application_entities=table, data=Path("unused"))
    assert problem in str(refused.value)
