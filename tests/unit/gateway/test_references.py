"""What is asked for by a retrieval, each once and by the place that has it."""

from gateway.transactions.references import RequestedDocuments, documents_of, each_once
from gateway.transactions.retrievals import Place, sorted_by_place
from shared.errors import UnknownCommunity
from shared.messages.documents import DocumentRequest
from shared.messages.rad69 import RAD69

HERE = "urn:oid:2.999.1"


def document(number: int, repository: str = "2.999.2", home: str = HERE) -> DocumentRequest:
    return DocumentRequest(repository, f"2.999.3.{number}", home)


def place(one: DocumentRequest) -> Place:
    if one.home_community_id != HERE:
        raise UnknownCommunity("nobody", location=one.document_unique_id)
    return Place(transaction=RAD69, url=f"http://{one.repository_unique_id}/", home=HERE, is_own=True)


def test_what_is_named_twice_is_asked_for_once():
    twice = RequestedDocuments((document(1), document(2), document(1)), "2.999.4", "2.999.4.1")

    (once,) = each_once([twice])

    assert once == twice._replace(documents=(document(1), document(2)))


def test_what_two_repositories_have_under_one_id_is_asked_for_at_both():
    both = RequestedDocuments((document(1), document(1, "2.999.9")))

    assert each_once([both]) == (both,)


def test_a_series_that_is_named_twice_is_asked_for_once():
    series = RequestedDocuments((document(1), document(2)), "2.999.4", "2.999.4.1")

    assert list(documents_of(each_once([series, series]))) == [document(1), document(2)]


def test_documents_of_two_places_by_turns_come_from_both():
    by_turns = tuple(document(number, f"2.999.{number % 2}") for number in range(6))

    places, errors = sorted_by_place([RequestedDocuments(by_turns, "2.999.4")], place)

    assert not errors
    assert [list(documents_of(there)) for there in places.values()] == [
        list(by_turns[0::2]),
        list(by_turns[1::2]),
    ]
    assert {one.study_instance_uid for there in places.values() for one in there} == {"2.999.4"}


def test_each_document_that_nobody_has_has_its_error():
    lost = tuple(document(number, home="urn:oid:2.999.8") for number in (1, 2))

    places, errors = sorted_by_place([RequestedDocuments((*lost, document(3), lost[0]))], place)

    assert [error.location for error in errors] == ["2.999.3.1", "2.999.3.2", "2.999.3.1"]
    assert [list(documents_of(there)) for there in places.values()] == [[document(3)]]
