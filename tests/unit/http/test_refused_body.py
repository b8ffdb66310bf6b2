"""What is wrong with a body is told by the names that we know; nothing of the body is repeated."""

from __future__ import annotations

import json
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.http.refused_body import reasons

NAME = "Kanarienvogel"


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")

    uid: int
    kind: Literal["a", "b"] = "a"


class Whole(BaseModel):
    model_config = ConfigDict(extra="forbid")

    title: str = Field(max_length=5)
    part: Part | None = None
    parts: list[Part] = []
    by_name: dict[str, Part] = {}


def told(content: object) -> str:
    with pytest.raises(ValidationError) as refused:
        Whole.model_validate_json(json.dumps(content))
    return reasons(refused.value, Whole)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({}, "title: Field required"),
        ({"title": "x", "parts": [{}]}, "parts.0.uid: Field required"),
        (
            {"title": "x", NAME: 1},
            "body: a member is not known; known are title, part, uid, kind, parts, by_name",
        ),
        ({"title": "x", "by_name": {NAME: {}}}, "by_name.uid: Field required"),
    ],
)
def test_the_place_and_the_reason_are_told(content, expected: str):
    assert told(content) == expected


@given(
    st.recursive(
        st.just(NAME),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from([NAME, "title", "part", "parts", "by_name", "uid", "kind"]), inner
            )
        ),
        max_leaves=6,
    )
)
def test_nothing_of_the_body_is_repeated(content):
    assert NAME not in told(content)


def test_not_more_is_told_than_anybody_reads():
    assert told({"title": "x", "parts": [{}] * 1000}).count(";") < 20
