"""What a study that is not published waits for, and which ones are published by themselves."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from imaging_source.domain.coding import NotPublishable
from imaging_source.domain.orders import OrderState
from imaging_source.domain.publishing_rules import PublishingRules, Trigger, enough, read_patients
from imaging_source.store.commitments import find_uncommitted
from imaging_source.store.orders import find_order
from imaging_source.store.publications import PublicationState, find_publications
from imaging_source.store.transfers import find_senders
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
    if await find_order(parts.database, study_instance_uid) is OrderState.CANCELLED:
        if await _is_published(parts, study_instance_uid):
            return ""
        return "a message said that its order is cancelled"
    publishing = parts.settings.publishing
    if not publishing.modalities and not publishing.senders and publishing.withheld_patients is None:
        return ""
    if await _is_published(parts, study_instance_uid):
        return ""
    instances = await rad68.shareable_instances(parts, study_instance_uid)
    header = await parts.instances.header(instances)
    withheld = publishing.withheld_patients
    rules = PublishingRules(
        modalities=frozenset(publishing.modalities),
        senders=frozenset(publishing.senders),
        withheld=await asyncio.to_thread(_patients, withheld) if withheld is not None else frozenset(),
    )
    return rules.objection(header, await find_senders(parts.database, study_instance_uid))


async def awaited_event(parts: Parts, study_instance_uid: str) -> str:
    """For what a study waits that has stopped growing, in a sentence; empty where for nothing.

    Raises
    ------
    UnknownStudy, NotPublishable
        There is nothing to publish.
    """
    publishing = parts.settings.publishing
    if publishing.after is Trigger.QUIET:
        return ""
    quiet = await _quiet_seconds(parts, study_instance_uid)
    # A time that is to come is one of a clock that stepped.
    if not 0 <= quiet < publishing.longest_wait_seconds or await _is_published(parts, study_instance_uid):
        return ""
    if publishing.after in (Trigger.ORDER, Trigger.REPORT):
        missing = await _order_missing(parts, study_instance_uid)
    else:
        missing = await _commitment_missing(parts, study_instance_uid)
    if not missing:
        return ""
    return (
        f"{missing}: it is published then, or when nothing has come for "
        f"{publishing.longest_wait_seconds:g} s, {quiet:.0f} s have passed"
    )


async def _order_missing(parts: Parts, study_instance_uid: str) -> str:
    trigger = parts.settings.publishing.after
    if await find_order(parts.database, study_instance_uid) in enough(trigger):
        return ""
    if trigger is Trigger.REPORT:
        return "no final report of it came yet"
    return "no message said yet that its order is completed"


async def _commitment_missing(parts: Parts, study_instance_uid: str) -> str:
    uncommitted = await find_uncommitted(parts.database, study_instance_uid)
    shareable = await rad68.shareable_instances(parts, study_instance_uid)
    missing = sum(one.sop_instance_uid in uncommitted for one in shareable)
    if not missing:
        return ""
    return (
        f"storage commitment of {missing} of its {len(shareable)} instances was not answered with success yet"
    )


async def _is_published(parts: Parts, study_instance_uid: str) -> bool:
    publications = await find_publications(
        parts.database, study_instance_uid=study_instance_uid, states=_PUBLISHED, limit=1
    )
    return bool(publications)


async def _quiet_seconds(parts: Parts, study_instance_uid: str) -> float:
    """How long ago the last instance of a study came."""
    last = await parts.instances.last_received(study_instance_uid)
    return (datetime.now(UTC) - last).total_seconds() if last is not None else 0.0


def _patients(path: Path) -> frozenset[tuple[str, str]]:
    try:
        return read_patients(path.read_text("utf-8").splitlines())
    except OSError as error:
        raise RulesUnreadable(f"{path} cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, NotPublishable) as error:
        raise RulesUnreadable(f"{path}: {error}") from None


async def reason(parts: Parts, study_instance_uid: str) -> str:
    """Why a study of which nothing was published is not, and what would help, in a sentence."""
    if await parts.instances.last_received(study_instance_uid) is None:
        return "no instance of it is here; import it, or have it sent"
    if not parts.settings.auto_publish:
        return f"studies are not published by themselves here; {_BY_HAND}"
    try:
        if why := await objection(parts, study_instance_uid):
            return f"{why}; {_BY_HAND}"
        awaited = await awaited_event(parts, study_instance_uid)
    except RulesUnreadable as error:
        return f"nothing is published by itself now: {error}; {_BY_HAND}"
    except NotPublishable as error:
        return str(error)
    delay = parts.settings.publish_delay_seconds
    quiet = await _quiet_seconds(parts, study_instance_uid)
    if 0 <= quiet < delay:
        return f"it grows: it is published when nothing has come for {delay:g} s, {quiet:.0f} s have passed"
    if awaited:
        return f"{awaited}; {_BY_HAND} now"
    return f"it is about to be published; where it stays so, the log says why, and {_BY_HAND}"
