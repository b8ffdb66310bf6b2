"""How a command fails."""

from __future__ import annotations


class Failed(Exception):
    """The command could not do its work; the text says why and what to do."""

    status = 1


class WrongUsage(Failed):
    """An argument is not written as the help says; the text names it and says what would be right."""

    status = 2
