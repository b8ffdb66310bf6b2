"""Reading a FHIR document Bundle as an imaging manifest (RAD MADO 1.0.0, MadoFhirBundle; FHIR R4).

Of a Bundle what a consumer needs is read, into the value that a Key Object Selection Document is read into.
Tolerances, for Bundles that are in the field: UIDs with and without `urn:oid:`; references by fullUrl, by
`Type/id` and by `id` alone; a series without an endpoint of its own takes that of the study; an identifier
that is no OID; several studies of one patient; instances in any order, which is that of their numbers then.
What names two patients is refused.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from shared.dicom.kos import (
    MAX_BYTES,
    MOST_REFERENCES,
    Manifest,
    ManifestError,
    ReferencedInstance,
    ReferencedSeries,
    ReferencedStudy,
    TooManyReferences,
)
from shared.dicom.uids import is_uid
from shared.ebrim.model import Code

MEDIA_TYPE: Final = "application/fhir+json"
FORMAT: Final = Code(
    "urn:ihe:rad:MADO:fhir-manifest:2026", "1.3.6.1.4.1.19376.1.2.7.1", "MADO FHIR Imaging Manifest"
)
#: Code of the title of a document that says the same (CID 7010).
TITLE: Final = "131560"

_OID: Final = "urn:oid:"
_STUDY_UID: Final = "urn:dicom:uid"
_LOCATION: Final = "https://profiles.ihe.net/RAD/MADO/StructureDefinition/MadoRetrieveLocationUIDExtension"
_WADO_RS: Final = "dicom-wado-rs"
_ACCESSION: Final = "ACSN"
_MEDICAL_RECORD: Final = "MR"
# What one reference may take, and the rest of a Bundle: each value costs far more than its characters.
_VALUES_EACH: Final = 40
_VALUES_BESIDE: Final = 100_000

_Resource = Mapping[str, Any]


class BundleError(ManifestError):
    """The bytes are not a document Bundle of a manifest; the text says why, and names no patient."""


def read_bundle(octets: bytes, *, most: int = MOST_REFERENCES) -> Manifest:
    """Read the bytes of a Bundle, of at most `most` instances; heavy for large ones: call it in a thread.

    Raises
    ------
    TooManyReferences
        There are more, or so much else that it is not read.
    BundleError
        It is none, it references nothing that can be followed, or it names two patients.
    """
    if len(octets) > MAX_BYTES:
        raise BundleError(f"a manifest has at most {MAX_BYTES} bytes, not {len(octets)}")
    if sum(map(octets.count, (b",", b"[", b"{"))) > _VALUES_BESIDE + _VALUES_EACH * most:
        raise TooManyReferences(most)
    try:
        root = json.loads(octets)
    except (ValueError, RecursionError):
        raise BundleError("it is no JSON") from None
    try:
        return _Bundle(root, most).manifest()
    except (AttributeError, KeyError, TypeError) as error:
        raise BundleError(f"something of it is not as in a MadoFhirBundle ({type(error).__name__})") from None


class _Bundle:
    def __init__(self, root: _Resource, most: int) -> None:
        if root.get("resourceType") != "Bundle" or root.get("type") != "document":
            raise BundleError("it is no document Bundle of FHIR")
        self._identifier = str(root.get("identifier", {}).get("value", "")).removeprefix(_OID)
        self._resources: dict[str, list[_Resource]] = {}
        self._by_name: dict[str, _Resource] = {}
        self._nameless: Counter[str] = Counter()
        self._most = self._left = most
        for entry in root.get("entry", ()):
            resource = entry["resource"]
            kind, own_id = resource["resourceType"], resource.get("id", "")
            self._resources.setdefault(kind, []).append(resource)
            names = (entry.get("fullUrl", ""), f"{kind}/{own_id}" if own_id else "", own_id)
            self._by_name |= {name: resource for name in names if name and name not in self._by_name}

    def manifest(self) -> Manifest:
        described = self._resources.get("ImagingStudy", [])
        if not described:
            raise BundleError("it holds no ImagingStudy")
        patient = self._patient()
        studies = tuple(filter(None, map(self._study, described)))
        if not any(series.instances for study in studies for series in study.series):
            raise BundleError("".join(("it references no instance", *(f"; {one}" for one in self._faults()))))
        day, _, time = str(described[0].get("started", "")).partition("T")
        return Manifest(
            sop_instance_uid=self._identifier if is_uid(self._identifier) else "",
            study_instance_uid=studies[0].study_instance_uid,
            title=TITLE,
            patient_id=_patient_id(patient),
            patient_name=_name(patient),
            study_date=day.replace("-", ""),
            study_time=time[:8].replace(":", ""),
            accession_number=next(_accession_numbers(described[0]), ""),
            study_description=str(described[0].get("description", "")),
            studies=studies,
            faults=tuple(self._faults()),
        )

    def _patient(self) -> _Resource:
        """Whose it is: of its Composition and of its studies, which is one."""
        about = [*self._resources.get("Composition", ()), *self._resources["ImagingStudy"]]
        subjects = [self._referenced(one["subject"]) for one in about if "subject" in one]
        patients = self._resources.get("Patient", [])
        whose = [one for one in subjects if one is not None] or patients[:1]
        ids = {_patient_id(one) for one in (*whose, *patients)}
        if len(ids) > 1:
            raise BundleError("it names two patients, and a manifest is of one")
        return whose[0] if whose else {}

    def _referenced(self, reference: _Resource) -> _Resource | None:
        name = str(reference.get("reference", ""))
        return self._by_name.get(name) or self._by_name.get(name.rpartition("/")[2])

    def _study(self, study: _Resource) -> ReferencedStudy | None:
        uids = (one for one in study.get("identifier", ()) if one.get("system") == _STUDY_UID)
        uid = next((_uid(one.get("value", "")) for one in uids), "")
        if not uid:
            self._nameless["studies"] += 1
            return None
        outer = study.get("endpoint", ())
        series = (self._series(one, outer) for one in study.get("series", ()))
        return ReferencedStudy(study_instance_uid=uid, series=tuple(filter(None, series)))

    def _series(self, series: _Resource, outer: Any) -> ReferencedSeries | None:
        uid = _uid(series.get("uid", ""))
        if not uid:
            self._nameless["series"] += 1
            return None
        location, url = self._place(series.get("endpoint") or outer)
        numbered = sorted(series.get("instance", ()), key=lambda one: one.get("number") or 0)
        return ReferencedSeries(
            series_instance_uid=uid,
            retrieve_location_uid=location,
            retrieve_url=url,
            modality=str(series.get("modality", {}).get("code", "")),
            number=str(series.get("number", "")),
            description=str(series.get("description", "")),
            instances=tuple(self._instances(numbered)),
        )

    def _instances(self, instances: list[_Resource]) -> Iterator[ReferencedInstance]:
        for one in instances:
            if not (uid := _uid(one.get("uid", ""))):
                self._nameless["references"] += 1
                continue
            if not self._left:
                raise TooManyReferences(self._most)
            self._left -= 1
            yield ReferencedInstance(
                sop_class_uid=_uid(one.get("sopClass", {}).get("code", "")), sop_instance_uid=uid
            )

    def _place(self, endpoints: Any) -> tuple[str, str]:
        """Retrieve Location UID and WADO-RS address of the first endpoint that says one."""
        for one in filter(None, map(self._referenced, endpoints)):
            if one.get("connectionType", {}).get("code") == _WADO_RS:
                located = (each for each in one.get("extension", ()) if each.get("url") == _LOCATION)
                location = next((str(each.get("valueString", "")) for each in located), "")
                address = str(one.get("address", "")).partition("/studies/")[0].removesuffix("/studies")
                return location.removeprefix(_OID), address.rstrip("/")
        return "", ""

    def _faults(self) -> Iterator[str]:
        for what, count in sorted(self._nameless.items()):
            yield f"{count} {what} left out: no UID in the ImagingStudy"


def _uid(text: Any) -> str:
    return str(text).strip().removeprefix(_OID)


def _kinds(identifier: _Resource) -> set[str]:
    return {coding.get("code", "") for coding in identifier.get("type", {}).get("coding", ())}


def _patient_id(patient: _Resource) -> str:
    """The medical record number, and else what stands first: the Patient ID of the images."""
    identifiers = patient.get("identifier", [])
    records = [one for one in identifiers if _MEDICAL_RECORD in _kinds(one)]
    return next((str(one.get("value", "")) for one in records or identifiers), "")


def _name(patient: _Resource) -> str:
    """The first name, as DICOM has it."""
    for name in patient.get("name", ()):
        forenames = name.get("given", [])
        parts = (name.get("family", ""), "".join(forenames[:1]), " ".join(forenames[1:]))
        return "^".join(parts).rstrip("^") or str(name.get("text", ""))
    return ""


def _accession_numbers(study: _Resource) -> Iterator[str]:
    for one in study.get("basedOn", ()):
        identifier = one.get("identifier", {})
        if _ACCESSION in _kinds(identifier):
            yield str(identifier.get("value", ""))
