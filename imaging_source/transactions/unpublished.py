"""What a study that is not published waits for, and which ones are published by themselves."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from imaging_source.domain.publishing import NotPublishable
from imaging_source.domain.publishing_rules import PublishingRules, read_patients
from imaging_source.store.publications import PublicationState, find_publications
from imaging_source.transactions import rad68
from imaging_source.unit import Parts

_BY_HAND = "xdsi publish publishes it"
_PUBLISHED = (PublicationState.PUBLISHED, PublicationState.WAITING, PublicationState.ABANDONED)


class RulesUnreadable(Exception):
    """The file of patients whose studies are withheld cannot be read; nothing is published by itself then."""


async def objection(parts: Parts, study_instance_uid: str) -> str:
    """Why a study is not published by itself; empty where it is, as one that is published stays true.

    Raises
    ------
    RulesUnreadable
        It cannot be known now.
    UnknownStudy, NotPublishable
        There is nothing to publish.
    """
    publishing = parts.settings.publishing
    if not publishing.modalities and publishing.withheld_patients is None:
        return ""
    if await find_publications(
        parts.database, study_instance_uid=study_instance_uid, states=_PUBLISHED, limit=1
    ):
        return ""
    instances = await rad68.shareable_instances(parts, study_instance_uid)
    header = await parts.instances.header(instances)
    withheld = publishing.withheld_patients
    rules = PublishingRules(
        modalities=frozenset(publishing.modalities),
        withheld=await asyncio.to_thread(_patients, withheld) if withheld is not None else frozenset(),
    )
    return rules.objection(header)


def _patients(path: Path) -> frozenset[tuple[str, str]]:
    try:
        return read_patients(path.read_text("utf-8").splitlines())
    except OSError as error:
        raise RulesUnreadable(f"{path} cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, NotPublishable) as error:
        raise RulesUnreadable(f"{path}: {error}") from None


async def reason(parts: Parts, study_instance_uid: str) -> str:
    """Why a study of which nothing was published is not, and what would help, in a sentence."""
    last = await parts.instances.last_received(study_instance_uid)
    if last is None:
        return "no instance of it is here; import it, or have it sent"
    if not parts.settings.auto_publish:
        return f"studies are not published by themselves here; {_BY_HAND}"
    try:
        if why := await objection(parts, study_instance_uid):
            return f"{why}; {_BY_HAND}"
    except RulesUnreadable as error:
        return f"nothing is published by itself now: {error}; {_BY_HAND}"
    except NotPublishable as error:
        return str(error)
    delay = parts.settings.publish_delay_seconds
    quiet = (datetime.now(UTC) - last).total_seconds()
    if 0 <= quiet < delay:
        return f"it grows: it is published when nothing has come for {delay:g} s, {quiet:.0f} s have passed"
    return f"it is about to be published; where it stays so, the log says why, and {_BY_HAND}"
