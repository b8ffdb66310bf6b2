"""Attempts whose failure ends nothing else, and work that is done to its end.

Beside the roads of requests (`shared.perform` and the two wings) no other place catches whatever is raised,
or keeps a cancellation from work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

Result = TypeVar("Result")


def attempted(work: Callable[[], Result]) -> Result | Exception:
    """What came of `work`: its result, or the exception that it raised, whichever it was.

    For what somebody else has to be told of, and for one thing of many that are done one after the other.
    """
    try:
        return work()
    except Exception as error:
        return error


def attempted_without_panic(work: Callable[[], Result]) -> Result | Exception:
    """As `attempted`; a panic of a library written in Rust, which is no Exception and cannot be pickled, is a
    ValueError. What ends the process goes on."""
    try:
        return work()
    except (KeyboardInterrupt, SystemExit):
        raise
    except Exception as error:
        return error
    except BaseException as panic:
        return ValueError(type(panic).__name__)


async def awaited(work: Awaitable[Result]) -> Result | Exception:
    """As `attempted`, for what is awaited; a cancellation goes on."""
    try:
        return await work
    except Exception as error:
        return error


async def to_its_end(work: Awaitable[Result]) -> Result:
    """Do `work` to its end, even if whoever waits for it here goes away."""
    return await asyncio.shield(asyncio.ensure_future(work))
