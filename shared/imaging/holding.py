"""What the giving of instances needs of the service that has them: an archive, or somebody who fetches."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from shared.consent.decision import Action, Decision
from shared.dicom.part10 import Limits
from shared.http.pieces import FileRange, Piece
from shared.imaging.bulk_data import BulkValue
from shared.imaging.instance import Instance
from shared.imaging.pixels import PixelData
from shared.imaging.rendering import Rendering
from shared.imaging.transfer_syntax import Codecs


@dataclass(frozen=True, slots=True)
class Access:
    """Whether the caller may have an instance; `patient_id` is the CX asked about, empty when unknown."""

    patient_id: str
    decision: Decision


def permits_all(access: Mapping[str, Access]) -> bool:
    """Whether the caller may have each of the instances."""
    # Hundreds of instances share few decisions.
    distinct = {id(one): one for one in access.values()}
    return all(one.decision.permitted for one in distinct.values())


class TranscoderView(Protocol):
    """Makes instances available in another transfer syntax, and as images; `codecs` is what it can do."""

    codecs: Codecs

    async def transcoded(self, instance: Instance, to: str) -> FileRange:
        """The whole Part 10 file of `instance` in the transfer syntax `to`."""
        ...

    async def clear(self) -> None:
        """Remove what was made of instances."""
        ...

    async def rendered(
        self, instance: Instance, rendering: Rendering, state: Instance | None = None
    ) -> FileRange:
        """What `rendering` asks for of `instance`, as a presentation `state` has it shown."""
        ...


class ContentsView(Protocol):
    """The bytes of instances."""

    def content(self, of: Instance) -> Piece:
        """The whole Part 10 file, to be sent."""
        ...

    async def local(self, of: Instance) -> Path:
        """The whole Part 10 file on this disk, as long as an answer may take; raises `OSError`."""
        ...


class InstancesView(Protocol):
    """Which instances there are, and what is told of them."""

    @property
    def limits(self) -> Limits:
        """What one file may ask of us."""
        ...

    @property
    def files(self) -> ContentsView:
        """Their bytes."""
        ...

    async def find_study(self, study_instance_uid: str) -> list[Instance]:
        """The instances of a study, by series number, then instance number; empty when unknown."""
        ...

    async def find_series(self, study_instance_uid: str, series_instance_uid: str) -> list[Instance]:
        """The instances of a series of this study, by instance number; empty when unknown."""
        ...

    async def find_instance(
        self, study_instance_uid: str, series_instance_uid: str, sop_instance_uid: str
    ) -> Instance | None:
        """The instance of this series of this study."""
        ...

    async def pixels(self, sop_instance_uid: str) -> PixelData | None:
        """Where its pixel data lie in its file, where that is known."""
        ...

    async def bulk_data(self, file: Path, path: Sequence[str]) -> BulkValue | None:
        """The value at `path` of a file."""
        ...

    def metadata_array(self, instances: Sequence[Instance]) -> AsyncIterator[bytes]:
        """DICOM JSON of `instances` as one array, in pieces."""
        ...

    def metadata_objects(self, instances: Sequence[Instance]) -> AsyncIterator[bytes]:
        """DICOM JSON of `instances`, one after the other."""
        ...


class HoldingParts(Protocol):
    """What the service is made of, as far as it gives instances."""

    @property
    def instances(self) -> InstancesView:
        """Which there are."""
        ...

    @property
    def transcoder(self) -> TranscoderView:
        """What gives them in another form."""
        ...

    @property
    def dicomweb_url(self) -> str:
        """The URL of DICOM web services, without a slash at its end."""
        ...


class HoldingUnit(Protocol):
    """The work of one request for instances."""

    @property
    def parts(self) -> HoldingParts:
        """What the service is made of."""
        ...

    async def access(
        self, instances: Sequence[Instance], action: Action = Action.RETRIEVE
    ) -> Mapping[str, Access]:
        """Decide for each of `instances`, by SOP Instance UID, whether the caller may do this with it."""
        ...

    async def hidden(self, instances: Sequence[Instance]) -> frozenset[str]:
        """What of `instances` is as if it were not there, by UID."""
        ...

    async def unreadable(self, instances: Sequence[Instance]) -> Mapping[str, str]:
        """Why the bytes of some of `instances` cannot be given, by UID."""
        ...
