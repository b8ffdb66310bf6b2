"""The folder of one trial: all that is known of it, written by the process that runs it and read by pages, so
that it is the same after a reload, and after a restart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from conformance.trials.order import Order

#: What a report is written as, and what it is for a browser.
REPORTS: Final[Mapping[str, str]] = {
    "report.html": "text/html; charset=utf-8",
    "report.json": "application/json",
    "junit.xml": "application/xml",
}
_ANSWERS: Final = {"yes": True, "no": False}


@dataclass(frozen=True, slots=True)
class Question:
    """What the person at the system is asked now; `number` tells it from the others of the trial."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class TrialFolder:
    """The files of one trial."""

    path: Path

    @property
    def messages(self) -> Path:
        """Where what was sent and came is kept while it runs."""
        return self.path / "messages"

    def order(self) -> Order:
        """What was ordered."""
        return Order.model_validate_json((self.path / "order.json").read_bytes())

    def write_order(self, order: Order) -> None:
        """Begin the folder, for this user alone."""
        self.path.mkdir(parents=True, mode=0o700)
        self._write("order.json", order.model_dump_json())

    def write_length(self, steps: int) -> None:
        """Say how many steps there will be."""
        self._write("length", str(steps))

    def length(self) -> int:
        """How many steps there will be; 0 while that is not known."""
        try:
            return int((self.path / "length").read_text("ascii"))
        except FileNotFoundError:
            return 0

    def add_step(self, verdict: Mapping[str, Any]) -> None:
        """One more verdict is known."""
        with (self.path / "steps.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(verdict) + "\n")

    def steps(self) -> list[dict[str, Any]]:
        """The verdicts that are known, in their order."""
        try:
            lines = (self.path / "steps.jsonl").read_text("utf-8").split("\n")
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines[:-1]]

    def ask(self, question: Question) -> None:
        """Ask the person."""
        self._write("question.json", json.dumps({"number": question.number, "text": question.text}))

    def question(self) -> Question | None:
        """What the person is asked, and has not answered."""
        try:
            written = json.loads((self.path / "question.json").read_bytes())
        except FileNotFoundError:
            return None
        question = Question(written["number"], written["text"])
        return None if self.answer(question.number) is not None else question

    def write_answer(self, number: int, *, yes: bool) -> None:
        """Answer a question."""
        self._write(f"answer-{number}", "yes" if yes else "no")

    def answer(self, number: int) -> bool | None:
        """The answer to a question; None while there is none."""
        try:
            return _ANSWERS[(self.path / f"answer-{number}").read_text("ascii")]
        except FileNotFoundError:
            return None

    def write_report(self, name: str, content: bytes) -> None:
        """Write one of `REPORTS`."""
        self._write(name, content)

    def report(self, name: str) -> Path | None:
        """One of `REPORTS`; None while it is not there."""
        path = self.path / name
        return path if name in REPORTS and path.is_file() else None

    def end(self, words: str) -> None:
        """Say how it ended, once; empty where it was done to its end."""
        if self.ending() is None:
            self._write("ending", words)

    def ending(self) -> str | None:
        """How it ended; None while it has not."""
        try:
            return (self.path / "ending").read_text("utf-8")
        except FileNotFoundError:
            return None

    def _write(self, name: str, content: str | bytes) -> None:
        unready = self.path / f"{name}.part"
        unready.write_bytes(content.encode() if isinstance(content, str) else content)
        unready.replace(self.path / name)
