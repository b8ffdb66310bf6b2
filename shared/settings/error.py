"""What is wrong with settings, as sentences."""

from __future__ import annotations


class SettingsError(Exception):
    """The settings cannot be used; each line names one setting, what is wrong and what would be right."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
