"""A repository that dies at a named point; this is the only entry by which faults can be asked for.

`XDSI_FAULTS` is JSON: `{"point": "module:Class.function", "when": "before" | "after", "hit": 1}`; or
`{"control": "path"}`, and that file names the fault while it runs, in the same form. Without it the
repository runs as it always does.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from repository.settings import RepositorySettings
from xdsi.serve import run
from xdsi.services import Service

# In the order in which a document passes them; each is a point before and one after.
POINTS = (
    "shared.soap.spooling:Sink.write",
    "shared.soap.spooling:Sink.finish",
    "shared.soap.spooling:AttachmentSpool.finish",
    "shared.soap.pipeline:SoapService._decode",
    "repository.transactions.iti41:_provide",
    "repository.transactions.iti41:check",
    "repository.store.documents:find_provision",
    "repository.store.files:FileBlobs.write",
    "shared.store.folders:FoldersOfStore.make",
    "shared.store.folders:sync",
    "repository.store.files:_place",
    "repository.store.documents:insert_provision",
    "repository.transactions.registration:register",
    "repository.transactions.iti42:attempt",
    "repository.transactions.registration:_record",
    "repository.store.documents:set_state",
    "shared.soap.pipeline:SoapService._send",
)

# What a document passes that is made when it is asked for, beside the way of its bytes: when its entry is
# registered, and when it is asked for; the last are of a delayed one alone.
ENTERING_POINTS = (
    "repository.peers.provider:ImagingSource.make",
    "repository.store.documents:insert_provision",
    "repository.store.assemblies:insert_assembly",
    "repository.transactions.registration:register",
    "repository.transactions.registration:_record",
)
ON_DEMAND_POINTS = (
    "repository.transactions.snapshots:current",
    "repository.peers.provider:ImagingSource.make",
    "repository.transactions.assembling:_decide",
    "repository.store.blobs:Blobs.spool",
    "repository.store.files:FileBlobs.write",
    "repository.store.files:sync",
    "repository.store.files:_place",
    "repository.store.assemblies:hold_assembly",
    "repository.store.documents:insert_provision",
    "repository.store.snapshots:insert_snapshot",
    "repository.transactions.snapshots:_begun",
    "repository.transactions.iti42:attempt",
    "repository.transactions.registration:_record",
    "repository.store.documents:set_state",
    "repository.transactions.snapshots:registered",
    "shared.soap.pipeline:SoapService._send",
)
DELAYED_POINTS = (
    "repository.peers.provider:ImagingSource.make",
    "repository.store.files:_place",
    "repository.store.assemblies:hold_assembly",
    "repository.store.documents:insert_late",
    "repository.store.assemblies:set_update",
    "repository.transactions.iti57:_sent",
    "repository.transactions.iti57:_conclude",
    "repository.store.assemblies:forget_assembly",
    "shared.soap.pipeline:SoapService._send",
)

# Whether the process dies now: of a point, and of a moment.
Due = Callable[[str, str], bool]


def arm(point: str, when: str, hit: int) -> None:
    """Let the process be killed before or after the `hit`th call of a function."""
    calls = count(1)
    change(point, lambda _, moment: moment == when and next(calls) == hit)


def arm_by(control: Path) -> None:
    """Let the process be killed at whatever point the file `control` names at that moment."""
    calls: Counter[bytes] = Counter()

    def due(point: str, moment: str) -> bool:
        try:
            named = control.read_bytes()
        except FileNotFoundError:
            return False
        fault = json.loads(named)
        if (fault["point"], fault["when"]) != (point, moment):
            return False
        calls[named] += 1
        return calls[named] == fault["hit"]

    points = {*ENTERING_POINTS, *ON_DEMAND_POINTS, *DELAYED_POINTS}
    # The lowest layer first: what is above it may have its functions by name.
    for point in sorted(points, key=lambda one: not one.startswith("repository.store")):
        change(point, due)


def change(point: str, due: Due) -> None:
    """Let a function end the process before or after a call for which that is due."""
    module_name, _, path = point.partition(":")
    *groups, name = path.split(".")
    owner: Any = importlib.import_module(module_name)
    for group in groups:
        owner = getattr(owner, group)
    function = getattr(owner, name)
    dying = _dying(function, point, due)
    setattr(owner, name, dying)
    if function.__module__ == module_name:
        # What was read before has it by name.
        for module in list(sys.modules.values()):
            for theirs in [theirs for theirs, value in vars(module).items() if value is function]:
                setattr(module, theirs, dying)


def _dying(function: Callable[..., Any], point: str, due: Due) -> Callable[..., Any]:
    def reached(moment: str) -> None:
        if due(point, moment):
            os.kill(os.getpid(), signal.SIGKILL)

    @functools.wraps(function)
    def dying(*arguments: Any, **named: Any) -> Any:
        reached("before")
        result = function(*arguments, **named)
        reached("after")
        return result

    @functools.wraps(function)
    async def dying_later(*arguments: Any, **named: Any) -> Any:
        reached("before")
        result = await function(*arguments, **named)
        reached("after")
        return result

    return dying_later if inspect.iscoroutinefunction(function) else dying


if __name__ == "__main__":
    if faults := os.environ.pop("XDSI_FAULTS", ""):
        # Served must be made of the function that is changed, so the module is changed before it is loaded.
        asked = json.loads(faults)
        arm_by(Path(asked["control"])) if "control" in asked else arm(**asked)
    run(Service.REPOSITORY, RepositorySettings.load())
