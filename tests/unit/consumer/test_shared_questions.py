"""Whoever asks is answered by a question that was asked after they came."""

from __future__ import annotations

import asyncio

import pytest

from consumer.front.shared_questions import SharedQuestions


async def test_those_who_wait_together_share_the_next_question():
    questions: SharedQuestions[int] = SharedQuestions()
    asked, gate = [], asyncio.Event()

    async def question() -> int:
        asked.append(len(asked))
        number = asked[-1]
        await gate.wait()
        return number

    first = asyncio.ensure_future(questions.ask("a", question))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    others = [asyncio.ensure_future(questions.ask("a", question)) for _ in range(5)]
    await asyncio.sleep(0)
    gate.set()

    assert await first == 0
    assert await asyncio.gather(*others) == [1] * 5
    assert asked == [0, 1]


async def test_a_question_that_fails_is_asked_again_by_the_next():
    questions: SharedQuestions[int] = SharedQuestions()
    answers = iter([ValueError("no"), 2])

    async def question() -> int:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pytest.raises(ValueError, match="no"):
        await questions.ask("a", question)
    assert await questions.ask("a", question) == 2
