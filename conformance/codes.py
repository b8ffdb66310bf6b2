"""Codes of PS3.16 and of the profiles that values are compared with."""

from __future__ import annotations

from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


KEY_OBJECT_SELECTION: Final = "1.2.840.10008.5.1.4.1.1.88.59"
DICOM_UID_REGISTRY: Final = "1.2.840.10008.2.6.1"

#: Document titles of Key Object Selection Documents (CID 7010), with what MADO adds.
TITLES: Final = {
    "113000": "Of Interest",
    "113001": "Rejected for Quality Reasons",
    "113002": "For Referring Provider",
    "113003": "For Surgery",
    "113004": "For Teaching",
    "113005": "For Conference",
    "113006": "For Therapy",
    "113007": "For Patient",
    "113008": "For Peer Review",
    "113009": "For Research",
    "113010": "Quality Issue",
    "113013": "Best In Set",
    "113018": "For Printing",
    "113020": "For Report Attachment",
    "113021": "For Litigation",
    "113030": "Manifest",
    "113031": "Signed Manifest",
    "113032": "Complete Study Content",
    "113033": "Signed Complete Study Content",
    "113034": "Complete Acquisition Content",
    "113035": "Signed Complete Acquisition Content",
    "113036": "Group of Frames for Display",
    "113037": "Rejected for Patient Safety Reasons",
    "113038": "Incorrect Modality Worklist Entry",
    "113039": "Data Retention Policy Expired",
    "131560": "Manifest with Description",
}
REJECTIONS: Final = frozenset({"113001", "113037", "113038", "113039"})
MANIFEST_WITH_DESCRIPTION: Final = "131560"
#: The code of the title in the trial texts before 1.0.0.
TEMPORARY_TITLE: Final = "MADOTEMP001"

#: Modalities that acquire (CID 29) and others (CID 32).
ACQUISITION_MODALITIES: Final = _words(
    """AR BDUS BI BMD CFM CR CT DG DMS DX ECG EEG EMG EOG EPS ES GM HD IO IVOCT IVUS KER LEN LS MG MR NM OAM
    OCT OP OPM OPT OPTBSV OPTENF OPV OSS PA POS PT PX RESP RF RG RTIMAGE SM SRF TG US VA XA XC"""
)
OTHER_MODALITIES: Final = _words(
    """ASMT AU CTPROTOCOL DOC FID HC IOL KO M3D OT PLAN PR REG RTDOSE RTPLAN RTRECORD RTSTRUCT RWV SEG SMR SR
    STAIN TEXTUREMAP"""
)
MODALITIES: Final = ACQUISITION_MODALITIES | OTHER_MODALITIES

#: Coarse anatomic regions of MADO (value set 1.3.6.1.4.1.19376.1.1.86.1), SNOMED CT.
REGIONS: Final = frozenset(
    {
        "63337009", "38266002", "53120007", "61685007", "67734004", "774007", "113257007", "80891009",
        "76752008", "1141981001",
    }
)  # fmt: skip

_STORAGE: Final = "1.2.840.10008.5.1.4.1.1."
#: SOP classes of images, without the prefix of storage classes.
_IMAGES: Final = _words(
    """1 1.1 1.1.1 1.2 1.2.1 1.3 1.3.1 2 2.1 2.2 3 3.1 4 4.1 4.3 4.4 6 6.1 6.2 7 7.1 7.2 7.3 7.4 12.1 12.1.1
    12.2 12.2.1 12.3 13.1.1 13.1.2 13.1.3 13.1.4 13.1.5 14.1 14.2 20 30 66.4 66.7 77.1.1 77.1.1.1 77.1.2
    77.1.2.1 77.1.3 77.1.4 77.1.4.1 77.1.5.1 77.1.5.2 77.1.5.4 77.1.5.5 77.1.5.6 77.1.5.7 77.1.5.8 77.1.6
    81.1 82.1 128 128.1 130 481.1"""
)
#: Where readers differ: taken as they come.
_DISPUTED: Final = frozenset({"4.2", "481.2", "30", "66.4", "66.7"})


def value_types(sop_class: str) -> frozenset[str]:
    """The value types by which an instance of this class may be referenced (PS3.3 C.17.3); COMPOSITE is right
    for whatever is not known."""
    every = frozenset({"IMAGE", "COMPOSITE", "WAVEFORM"})
    if not sop_class.startswith(_STORAGE):
        return every
    local = sop_class.removeprefix(_STORAGE)
    if local in _DISPUTED:
        return every - {"WAVEFORM"}
    if local in _IMAGES:
        return frozenset({"IMAGE"})
    if local.startswith("9."):
        return frozenset({"WAVEFORM"})
    if local.startswith(("88.", "11.", "104.", "481.", "66.", "67")):
        return frozenset({"COMPOSITE"})
    return every
