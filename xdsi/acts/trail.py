"""What the audit trail holds of all of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from xdsi.stage import Stage
from xdsi.story import DoesNotHold, Story


async def check_trail(story: Story, stage: Stage) -> None:
    """Every step is recorded, with the refusal, and the chain is whole."""
    from audit_repository.settings import AuditRepositorySettings
    from xdsi.audit import collect, verified_by_service

    settings = stage.load(AuditRepositorySettings, stage.community)
    transactions = {"ITI-8", "ITI-18", "ITI-41", "ITI-42", "ITI-43", "RAD-68", "RAD-69", "RAD-107", "RAD-108"}
    with story.step("Every access stands in the audit trail (ITI-20)") as step:
        records: list[dict[str, Any]] = []
        for _ in range(60):
            records = await collect(settings, "", {}, 5_000)
            if transactions <= _types(records) and _has_refusals(records):
                break
            await asyncio.sleep(0.25)
        if absent := transactions - _types(records):
            raise DoesNotHold(f"no record of {', '.join(sorted(absent))}")
        if not _has_refusals(records):
            raise DoesNotHold("the refused clerk is not in the trail")
        report = await verified_by_service(settings, "")
        if report["problems"]:
            raise DoesNotHold("the chain of the trail is broken")
        step.outcome = f"{len(records)} records of {len(_types(records))} kinds; chain verified"
        step.proof = (
            "Audited",
            f"{len(records)} records from both sides; the refusal with its policy; chain intact",
        )


def _types(records: Sequence[dict[str, Any]]) -> set[str]:
    return {kind["code"] for record in records for kind in record["types"]}


def _has_refusals(records: Sequence[dict[str, Any]]) -> bool:
    return any(record["outcome"] != 0 and "clerk.south" in json.dumps(record) for record in records)
