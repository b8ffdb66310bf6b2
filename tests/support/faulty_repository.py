"""A repository that dies at a named point; this is the only entry by which faults can be asked for.

`XDSI_FAULTS` is JSON: `{"point": "module:Class.function", "when": "before" | "after", "hit": 1}`. Without it
the repository runs as it always does.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import os
import signal
from collections.abc import Callable
from itertools import count
from typing import Any

from repository.settings import RepositorySettings
from xdsi.serve import Service, run

# In the order in which a document passes them; each is a point before and one after.
POINTS = (
    "shared.soap.spooling:Sink.write",
    "shared.soap.spooling:Sink.finish",
    "shared.soap.spooling:Spool.finish",
    "shared.soap.pipeline:SoapService._decode",
    "repository.transactions.iti41:_provide",
    "repository.transactions.iti41:check",
    "repository.store.documents:find_provision",
    "repository.store.files:FileBlobs.write",
    "repository.store.files:FileBlobs._make_folder",
    "repository.store.files:_sync",
    "repository.store.files:_place",
    "repository.store.documents:insert_provision",
    "repository.transactions.iti42:register",
    "repository.transactions.iti42:_attempt",
    "repository.transactions.iti42:_record",
    "repository.store.documents:set_state",
    "shared.soap.pipeline:SoapService._send",
)


def arm(point: str, when: str, hit: int) -> None:
    """Let the process be killed before or after the `hit`th call of a function."""
    module_name, _, path = point.partition(":")
    *groups, name = path.split(".")
    owner: Any = importlib.import_module(module_name)
    for group in groups:
        owner = getattr(owner, group)
    setattr(owner, name, _dying(getattr(owner, name), when, hit))


def _dying(function: Callable[..., Any], when: str, hit: int) -> Callable[..., Any]:
    calls = count(1)

    def reached(moment: str, number: int) -> None:
        if moment == when and number == hit:
            os.kill(os.getpid(), signal.SIGKILL)

    @functools.wraps(function)
    def dying(*arguments: Any, **named: Any) -> Any:
        number = next(calls)
        reached("before", number)
        result = function(*arguments, **named)
        reached("after", number)
        return result

    @functools.wraps(function)
    async def dying_later(*arguments: Any, **named: Any) -> Any:
        number = next(calls)
        reached("before", number)
        result = await function(*arguments, **named)
        reached("after", number)
        return result

    return dying_later if inspect.iscoroutinefunction(function) else dying


if __name__ == "__main__":
    if faults := os.environ.pop("XDSI_FAULTS", ""):
        # Served must be made of the function that is changed, so the module is changed before it is loaded.
        arm(**json.loads(faults))
    run(Service.REPOSITORY, RepositorySettings.load())
