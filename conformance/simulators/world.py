"""What all simulators know of: one patient, whose one study was published with its manifest.

Everything is made from fixed ids, so that simulators in several processes know the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import Final

from conformance.corpus import metadata
from conformance.corpus.data_sets import DataSet, part10
from conformance.corpus.manifests import code, issuer, manifest, reference
from conformance.corpus.messages import digest_of
from conformance.instances import CT, Image, an_image

REPOSITORY: Final = "1.3.6.1.4.1.21367.9.30"
LOCATION: Final = "1.2.3.77"
MANIFEST: Final = "2.25.1001"
STUDY: Final = "2.25.500"
SERIES: Final = {"2.25.501": ("2.25.5011", "2.25.5012"), "2.25.502": ("2.25.5021",)}
#: A patient beside, of whom wrong answers tell.
OTHER_PATIENT: Final = "P-2"


@dataclass(frozen=True)
class World:
    """The patient's assigning authority, the base address of the imaging source's DICOMweb service, the
    homeCommunityId where gateways are played, and the Retrieve Location UID, which the manifest lacks when it
    is empty."""

    domain: str
    dicomweb: str = "http://127.0.0.1:8200/dicomweb"
    home: str = ""
    patient: str = "P-1"
    location: str = LOCATION

    @property
    def patient_id(self) -> str:
        """As CX."""
        return f"{self.patient}^^^&{self.domain}&ISO"

    @cached_property
    def images(self) -> Mapping[str, Image]:
        """The instances by their UIDs."""
        uids = [(series, uid) for series, of_series in SERIES.items() for uid in of_series]
        return {
            uid: an_image(STUDY, series, number, patient="P1", uid=uid)
            for number, (series, uid) in enumerate(uids, 1)
        }

    @cached_property
    def manifest(self) -> bytes:
        """The manifest of the study."""
        data_set = manifest()
        data_set[0x00100010], data_set[0x00100030], data_set[0x00100040] = "Probe^Rick", "19560527", "M"
        data_set[0x0040A375] = [{0x0020000D: STUDY, 0x00081115: [self._series(uid) for uid in SERIES]}]
        data_set[0x0040A730] = [
            {0x0040A010: "CONTAINS", 0x0040A040: "IMAGE", 0x00081199: [reference(CT, uid)]}
            for uid in self.images
        ]
        data_set[0x0040A043] = code("113030", "DCM", "Manifest")
        data_set[0x00100024] = issuer("1.2.3.9")
        return part10(data_set)

    def _series(self, uid: str) -> DataSet:
        series: DataSet = {
            0x0020000E: uid,
            0x00080054: "SIMULATOR",
            0x0040E011: self.location,
            0x00081190: self.dicomweb,
            0x00081199: [reference(CT, instance) for instance in SERIES[uid]],
        }
        return series if self.location else {tag: series[tag] for tag in series if tag != 0x0040E011}

    @cached_property
    def documents(self) -> Mapping[str, bytes]:
        """What the repository holds, by uniqueId."""
        return {MANIFEST: self.manifest}

    @cached_property
    def objects(self) -> str:
        """The entry of the manifest, its SubmissionSet, Folder and Associations, as ebRIM."""
        text = metadata.objects(digest_of(self.manifest), len(self.manifest))
        return text.replace(metadata.PATIENT, escape(self.patient_id))
