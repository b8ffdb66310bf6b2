"""From a manifest to what is worth asking for: which instances are still missing, in which requests."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from math import ceil
from pathlib import Path, PurePath
from typing import Final

from shared.dicom.kos import Manifest
from shared.dicom.uids import UID_FORM, is_uid

#: Of so few instances a request costs more than a stream of their own gains.
_WORTH_A_STREAM = 8
KEY_OBJECTS: Final = "1.2.840.10008.5.1.4.1.1.88.59"
_REPORTS: Final = ("1.2.840.10008.5.1.4.1.1.88.", "1.2.840.10008.5.1.4.1.1.104.")
_PRESENTATION_STATES: Final = "1.2.840.10008.5.1.4.1.1.11."


class Content(StrEnum):
    """What an instance is to whoever looks at a study."""

    IMAGE = "image"
    REPORT = "report"
    ANNOTATION = "annotation"

    @classmethod
    def of(cls, sop_class_uid: str) -> Content:
        """By its SOP class: structured reports and encapsulated documents are read; key objects and
        presentation states say how others are shown; whatever else it is may have pixels."""
        if sop_class_uid == KEY_OBJECTS or sop_class_uid.startswith(_PRESENTATION_STATES):
            return cls.ANNOTATION
        return cls.REPORT if sop_class_uid.startswith(_REPORTS) else cls.IMAGE


class UnsafeManifest(ValueError):
    """The manifest names something that is not a UID; nothing of it becomes a file name or a URL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedInstance:
    """One instance, and where it is retrieved from.

    `patient_id` is the CX under which it was found, `home_community_id` the community that has it, as its
    manifest's entry says; `source_patient_id` and `source_patient_name` are whom the manifest names.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str = ""
    patient_id: str = ""
    retrieve_location_uid: str = ""
    retrieve_url: str = ""
    retrieve_ae_title: str = ""
    home_community_id: str = ""
    source_patient_id: str = ""
    source_patient_name: str = ""

    @property
    def file_name(self) -> PurePath:
        """Where the instance goes below the target folder: study/series/instance.dcm."""
        return PurePath(self.study_instance_uid, self.series_instance_uid, f"{self.sop_instance_uid}.dcm")


class Via(StrEnum):
    """The transaction by which instances are retrieved."""

    RAD69 = "rad69"
    WADO_RS = "wado-rs"
    WADO_URI = "wado-uri"
    C_MOVE = "c-move"

    @property
    def text(self) -> str:
        """As people write it."""
        return _WORDS[self][0]

    @property
    def number(self) -> str:
        """As IHE counts it."""
        return _WORDS[self][1]

    @property
    def needs(self) -> str:
        """What a manifest names for it."""
        return _WORDS[self][2]


_WORDS: Final = {
    Via.RAD69: ("RAD-69", "RAD-69", "Retrieve Location UID"),
    Via.WADO_RS: ("WADO-RS", "RAD-107", "Retrieve URL"),
    Via.WADO_URI: ("WADO-URI", "RAD-55", "Retrieve AE Title of XDSI_CONSUMER__WADO_URIS"),
    Via.C_MOVE: ("C-MOVE", "RAD-16", "Retrieve AE Title of XDSI_CONSUMER__MOVE_ARCHIVES"),
}


class NoRoad(Exception):
    """The manifest names no place where these instances could be asked for."""


def roads(
    one: RequestedInstance,
    preferred: Via,
    *,
    across: bool,
    wado_uris: Collection[str] = (),
    archives: Collection[str] = (),
) -> tuple[Via, ...]:
    """The transactions that the place of `one` allows, in the order in which they are tried: the preferred
    one first if it can be.

    RAD-69 needs a Retrieve Location UID, WADO-RS a Retrieve URL, WADO-URI a Retrieve AE Title that is one of
    `wado_uris`, C-MOVE one of `archives`; manifests of some makers have only one of them. What lies in
    another community (`across`) comes by RAD-69 through its gateway.

    Raises
    ------
    NoRoad
        The manifest names none of them.
    """
    if across:
        return (Via.RAD69,)
    places = {
        Via.RAD69: one.retrieve_location_uid,
        Via.WADO_RS: one.retrieve_url,
        Via.WADO_URI: one.retrieve_ae_title in wado_uris,
        Via.C_MOVE: one.retrieve_ae_title in archives,
    }
    passable = [via for via in (preferred, *Via) if places[via]]
    if not passable:
        raise NoRoad(
            "the manifest names neither a Retrieve Location UID nor a Retrieve URL to ask at, and no "
            "Retrieve AE Title of XDSI_CONSUMER__WADO_URIS or XDSI_CONSUMER__MOVE_ARCHIVES"
        )
    return tuple(dict.fromkeys(passable))


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one instance; `reason` says why it did not come, and is empty when it did.

    `code` is the error code of the source, where it gave one, `failure` what ended the exchange, where
    something did. `by` is the transaction by which it came.
    """

    instance: RequestedInstance
    size: int
    reason: str = ""
    code: str = ""
    failure: Exception | None = None
    by: Via | None = None


def requested_instances(
    manifest: Manifest, *, patient_id: str = "", home_community_id: str = ""
) -> tuple[RequestedInstance, ...]:
    """Every instance of the manifest once, in its order.

    Raises
    ------
    UnsafeManifest
        A UID is not one.
    """
    instances: dict[str, RequestedInstance] = {}
    for study, series, instance in manifest.instances:
        uids = (study.study_instance_uid, series.series_instance_uid, instance.sop_instance_uid)
        for uid in uids:
            if not is_uid(uid):
                raise UnsafeManifest(f"the manifest holds something that is no UID: {UID_FORM}")
        instances.setdefault(
            uids[2],
            RequestedInstance(
                study_instance_uid=uids[0],
                series_instance_uid=uids[1],
                sop_instance_uid=uids[2],
                sop_class_uid=instance.sop_class_uid,
                patient_id=patient_id,
                retrieve_location_uid=series.retrieve_location_uid,
                retrieve_url=series.retrieve_url,
                retrieve_ae_title=series.retrieve_ae_title,
                home_community_id=home_community_id,
                source_patient_id=manifest.patient_id,
                source_patient_name=manifest.patient_name,
            ),
        )
    return tuple(instances.values())


def still_missing(instances: Iterable[RequestedInstance], folder: Path) -> tuple[RequestedInstance, ...]:
    """Those that an earlier run did not complete; a file has its name only once it is whole."""
    return tuple(instance for instance in instances if not (folder / instance.file_name).is_file())


def requests(
    instances: Iterable[RequestedInstance], *, largest: int, streams: int = 1
) -> Iterator[tuple[RequestedInstance, ...]]:
    """Groups of at most `largest` instances with one place, so that `streams` can be under way at once."""
    for _, of_place in groupby(instances, key=_place):
        together = tuple(of_place)
        size = _size_of_groups(len(together), largest, streams)
        yield from (together[start : start + size] for start in range(0, len(together), size))


def _place(one: RequestedInstance) -> tuple[str, str, str]:
    return one.retrieve_location_uid, one.retrieve_url, one.retrieve_ae_title


def _size_of_groups(number: int, largest: int, streams: int) -> int:
    groups = ceil(number / largest)
    if number >= streams * _WORTH_A_STREAM:
        # Every stream has its work until the end: none waits while another one fetches a last group.
        groups = ceil(groups / streams) * streams
    return ceil(number / groups)
