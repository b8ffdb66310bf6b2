"""CDA reports: what they say is shown, and nothing of them becomes markup."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import html

from consumer.pages.narrative import read_clinical_document
from shared.http.problem import Unprocessable
from tests.support.reports import a_cda, a_pdf

ALLOWED = {"p", "ul", "ol", "li", "strong", "em", "u", "span", "br", "sub", "sup"} | {
    *("table", "thead", "tbody", "tfoot", "tr", "th", "td")
}


def shown(narrative: str) -> str:
    return str(read_clinical_document(a_cda(narrative)).sections[0].html)


def test_the_head_says_who_and_when():
    read = read_clinical_document(a_cda("<paragraph>No fracture.</paragraph>", title="CT of the chest"))

    assert (read.title, read.patient_name, read.patient_ids) == ("CT of the chest", "Roe, Rick", ("L-77",))
    assert (read.birth_date, read.effective_time[:8], read.author) == ("19560527", "20260301", "Writer, Ann")
    assert [(one.level, one.title) for one in read.sections] == [(2, "Findings")]


def test_lists_tables_and_emphasis_are_as_they_were_meant():
    assert shown(
        '<list listType="ordered"><item>One</item></list><table><tbody><tr><td>2</td></tr></tbody></table>'
        '<content styleCode="Bold">three</content><br/>4'
    ) == (
        "<ol><li>One</li></ol><table><tbody><tr><td>2</td></tr></tbody></table>"
        "<span><strong>three</strong></span><br>4"
    )


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        '<paragraph onclick="alert(1)" style="position:fixed">x</paragraph>',
        '<linkHtml href="javascript:alert(1)">x</linkHtml>',
        '<linkHtml href="https://elsewhere.example/">x</linkHtml>',
        '<iframe src="https://elsewhere.example/"/>',
        '<img src="x" onerror="alert(1)"/>',
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        '<content styleCode="&quot;&gt;&lt;script&gt;">x</content>',
        '<x:script xmlns:x="http://www.w3.org/1999/xhtml">alert(1)</x:script>',
    ],
)
def test_hostile_narratives_are_text(hostile: str):
    tree = html.fragment_fromstring(shown(hostile), create_parent="div")

    assert {one.tag for one in tree.iterdescendants()} <= ALLOWED
    assert not any(one.attrib for one in tree.iterdescendants())


# XML forbids these two (1.0, 2.2).
@given(
    st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"), max_size=50)
)
def test_whatever_text_is_in_a_narrative_is_read_back_as_it_is(text: str):
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

    tree = html.fragment_fromstring(shown(f"<paragraph>{escaped}</paragraph>"), create_parent="div")

    assert "".join(tree.itertext()) == text
    assert {one.tag for one in tree.iterdescendants()} == {"p"}


def wrapping(media_type: str, content: str) -> bytes:
    body = f'<nonXMLBody><text mediaType="{media_type}" representation="B64">{content}</text></nonXMLBody>'
    before, _, _ = a_cda("").partition(b"<component>")
    return before + f"<component>{body}</component></ClinicalDocument>".encode()


def test_a_document_within_is_given_as_it_was():
    read = read_clinical_document(wrapping("application/pdf", b64encode(a_pdf()).decode()))

    assert (read.media_type, read.body) == ("application/pdf", a_pdf())


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"<html/>",
        b"<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>",
        b"<ClinicalDocument/>",
        wrapping("application/pdf", "***"),
        b"<a>" * 100_000,
    ],
)
def test_what_is_no_cda_is_refused_in_words(octets: bytes):
    with pytest.raises(Unprocessable):
        read_clinical_document(octets)
