"""Codes of modalities and body regions (PS3.16 CID 29 and annex L), and the OIDs of coding schemes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from shared.ebrim.model import Code

DCM_OID: Final = "1.2.840.10008.2.16.4"
SNOMED_OID: Final = "2.16.840.1.113883.6.96"
LOINC_OID: Final = "2.16.840.1.113883.6.1"

SCHEMES: Final[Mapping[str, str]] = {
    "DCM": DCM_OID,
    "SCT": SNOMED_OID,
    "LN": LOINC_OID,
    "RADLEX": "2.16.840.1.113883.6.256",
    "UCUM": "2.16.840.1.113883.6.8",
    "ICD10": "2.16.840.1.113883.6.3",
    "I10": "2.16.840.1.113883.6.3",
    "C4": "2.16.840.1.113883.6.12",
}
"""Coding Scheme Designators (PS3.16 table 8-1) by the OID that metadata names them with."""

# CID 29, acquisition modalities. What is not here (KO, PR, SR, SEG, OT …) is no event of a study's metadata.
MODALITIES: Final[Mapping[str, str]] = {
    "AR": "Autorefraction",
    "BDUS": "Ultrasound Bone Densitometry",
    "BI": "Biomagnetic Imaging",
    "BMD": "Bone Mineral Densitometry",
    "CFM": "Confocal Microscopy",
    "CR": "Computed Radiography",
    "CT": "Computed Tomography",
    "DG": "Diaphanography",
    "DMS": "Dermoscopy",
    "DX": "Digital Radiography",
    "ECG": "Electrocardiography",
    "EEG": "Electroencephalography",
    "EMG": "Electromyography",
    "EOG": "Electrooculography",
    "EPS": "Cardiac Electrophysiology",
    "ES": "Endoscopy",
    "GM": "General Microscopy",
    "HD": "Hemodynamic Waveform",
    "IO": "Intra-oral Radiography",
    "IVOCT": "Intravascular Optical Coherence Tomography",
    "IVUS": "Intravascular Ultrasound",
    "KER": "Keratometry",
    "LEN": "Lensometry",
    "LS": "Laser Scan",
    "MG": "Mammography",
    "MR": "Magnetic Resonance",
    "NM": "Nuclear Medicine",
    "OAM": "Ophthalmic Axial Measurements",
    "OCT": "Optical Coherence Tomography",
    "OP": "Ophthalmic Photography",
    "OPM": "Ophthalmic Mapping",
    "OPT": "Ophthalmic Tomography",
    "OPTBSV": "Ophthalmic Tomography B-scan Volume Analysis",
    "OPTENF": "Ophthalmic Tomography En Face",
    "OPV": "Ophthalmic Visual Field",
    "OSS": "Optical Surface Scanner",
    "PA": "Photoacoustic",
    "POS": "Position Sensor",
    "PT": "Positron emission tomography",
    "PX": "Panoramic X-Ray",
    "RESP": "Respiratory Waveform",
    "RF": "Radiofluoroscopy",
    "RG": "Radiographic imaging",
    "RTIMAGE": "RT Image",
    "SM": "Slide Microscopy",
    "SRF": "Subjective Refraction",
    "TG": "Thermography",
    "US": "Ultrasound",
    "VA": "Visual Acuity",
    "XA": "X-Ray Angiography",
    "XC": "External-camera Photography",
}

# CID 33 without those: what is no acquisition, and has series of its own.
_OTHER_MODALITIES: Final[Mapping[str, str]] = {
    "ASMT": "Content Assessment Results",
    "AU": "Audio",
    "CTPROTOCOL": "CT Protocol",
    "DOC": "Document",
    "FID": "Fiducials",
    "HC": "Hard Copy",
    "IOL": "Intraocular Lens Data",
    "KO": "Key Object Selection",
    "M3D": "Model for 3D Manufacturing",
    "OT": "Other",
    "PLAN": "Plan",
    "PR": "Presentation State",
    "REG": "Registration",
    "RTDOSE": "RT Dose",
    "RTPLAN": "RT Plan",
    "RTRECORD": "RT Treatment Record",
    "RTSTRUCT": "RT Structure Set",
    "RWV": "Real World Value Map",
    "SEG": "Segmentation",
    "SMR": "Stereometric Relationship",
    "SR": "Structured Report Document",
    "STAIN": "Automated Slide Stainer",
    "TEXTUREMAP": "Texture Map",
}

_REGIONS: Final = """
ABDOMEN 818981001 Abdomen
ABDOMENPELVIS 818982008 Abdomen and Pelvis
ADRENAL 23451007 Adrenal gland
ANKLE 70258002 Ankle joint
AORTA 15825003 Aorta
ARM 40983000 Upper arm
BILEDUCT 28273000 Bile duct
BLADDER 89837001 Bladder
BRAIN 12738006 Brain
BREAST 76752008 Breast
CALCANEUS 80144004 Calcaneus
CAROTID 69105007 Carotid Artery
CHEST 816094009 Chest
CHESTABDOMEN 416550000 Chest and Abdomen
CHESTABDPELVIS 416775004 Chest, Abdomen and Pelvis
CLAVICLE 51299004 Clavicle
COCCYX 64688005 Coccyx
COLON 71854001 Colon
CSPINE 122494005 Cervical spine
CTSPINE 1217257000 Cervico-thoracic spine
DUODENUM 38848004 Duodenum
ELBOW 16953009 Elbow joint
ESOPHAGUS 32849002 Esophagus
EXTREMITY 66019005 Extremity
EYE 81745001 Eye
FEMUR 71341001 Femur
FIBULA 87342007 Fibula
FINGER 7569003 Finger
FOOT 56459004 Foot
FOREARM 14975008 Forearm
GALLBLADDER 28231008 Gallbladder
HAND 85562004 Hand
HEAD 69536005 Head
HEADNECK 774007 Head and Neck
HEART 80891009 Heart
HIP 24136001 Hip joint
HUMERUS 85050009 Humerus
JAW 661005 Jaw region
KIDNEY 64033007 Kidney
KNEE 72696002 Knee
LARYNX 4596009 Larynx
LEG 30021000 Lower leg
LIVER 10200004 Liver
LSPINE 122496007 Lumbar spine
LSSPINE 1217253001 Lumbo-sacral spine
LUNG 39607008 Lung
MANDIBLE 91609006 Mandible
MAXILLA 70925003 Maxilla
MEDIASTINUM 72410000 Mediastinum
NECK 45048000 Neck
NECKCHEST 417437006 Neck and Chest
NECKCHESTABDOMEN 416152001 Neck, Chest and Abdomen
NECKCHESTABDPELV 416319003 Neck, Chest, Abdomen and Pelvis
ORBIT 363654007 Orbital structure
OVARY 15497006 Ovary
PANCREAS 15776009 Pancreas
PAROTID 45289007 Parotid gland
PATELLA 64234005 Patella
PELVIS 816092008 Pelvis
PELVISLOWEXTREMT 1231522001 Pelvis and lower extremities
PROSTATE 41216001 Prostate
RECTUM 34402009 Rectum
RIB 113197003 Rib
SCAPULA 79601000 Scapula
SELLA 42575006 Sella turcica
SHOULDER 16982005 Shoulder
SIJOINT 39723000 Sacroiliac joint
SINUS 2095001 Paranasal sinus
SKULL 89546000 Skull
SPINE 421060004 Spine
SPLEEN 78961009 Spleen
SSPINE 54735007 Sacrum
STERNUM 56873002 Sternum
STOMACH 69695003 Stomach
THIGH 68367000 Thigh
THUMB 76505004 Thumb
THYROID 69748006 Thyroid
TIBIA 12611008 Tibia
TLSPINE 1217256009 Thoraco-lumbar spine
TMJ 53620006 Temporomandibular joint
TOE 29707007 Toe
TRACHEA 44567001 Trachea
TSPINE 122495006 Thoracic spine
UPRURINARYTRACT 431491007 Upper urinary tract
URETER 87953007 Ureter
URETHRA 13648007 Urethra
UTERUS 35039007 Uterus
WHOLEBODY 38266002 Entire body
WRIST 74670003 Wrist joint
ZYGOMA 13881006 Zygoma
"""


def _regions() -> dict[str, Code]:
    rows = (line.split(" ", 2) for line in _REGIONS.strip().splitlines())
    return {body_part: Code(value, SNOMED_OID, meaning) for body_part, value, meaning in rows}


BODY_PARTS: Final[Mapping[str, Code]] = _regions()
"""Body Part Examined (annex L) by the SNOMED CT code of its region."""


def of_body_parts(body_parts: Iterable[str], own: Mapping[str, Code]) -> Iterator[Code]:
    """What values of Body Part Examined stand for; a site's `own` codes go before those of DICOM."""
    for body_part in body_parts:
        key = body_part.strip().upper()
        if code := own.get(key) or BODY_PARTS.get(key.replace(" ", "").replace("_", "")):
            yield code


def in_metadata(code: Code) -> Code:
    """`code` as metadata spells it: the scheme by OID where its designator is known, never without a name."""
    return Code(code.value, SCHEMES.get(code.scheme, code.scheme), code.display_name or code.value)


def modality(value: str) -> Code | None:
    """The event code of a modality; None when it is not one by which images are acquired."""
    code = value.strip().upper()
    name = MODALITIES.get(code)
    return Code(code, DCM_OID, name) if name else None


def series_modality(value: str) -> Code:
    """The code of the modality of a series of any kind (CID 33); `OT` where the value is none of them."""
    code = value.strip().upper()
    name = MODALITIES.get(code) or _OTHER_MODALITIES.get(code)
    return Code(code, "DCM", name) if name else Code("OT", "DCM", _OTHER_MODALITIES["OT"])


_DESIGNATORS: Final = {oid: designator for designator, oid in reversed(list(SCHEMES.items()))}


def in_data_set(code: Code) -> Code:
    """`code` as a data set spells it: the scheme by its designator where that is known."""
    return Code(code.value, _DESIGNATORS.get(code.scheme, code.scheme), code.display_name or code.value)


# RAD MADO, value set 1.3.6.1.4.1.19376.1.1.86.1, by the keys of the table above.
_TARGET_REGIONS: Final = """
774007 Head and neck: BRAIN CAROTID EYE HEAD HEADNECK JAW LARYNX MANDIBLE MAXILLA NECK NECKCHEST
    NECKCHESTABDOMEN NECKCHESTABDPELV ORBIT PAROTID SELLA SINUS SKULL THYROID TMJ ZYGOMA
67734004 Upper trunk: CHEST CHESTABDOMEN CHESTABDPELVIS CLAVICLE ESOPHAGUS LUNG MEDIASTINUM NECKCHEST
    NECKCHESTABDOMEN NECKCHESTABDPELV RIB SCAPULA STERNUM TRACHEA
63337009 Lower trunk: ABDOMEN ABDOMENPELVIS ADRENAL BILEDUCT BLADDER CHESTABDOMEN CHESTABDPELVIS COLON
    DUODENUM GALLBLADDER KIDNEY LIVER NECKCHESTABDOMEN NECKCHESTABDPELV OVARY PANCREAS PELVIS
    PELVISLOWEXTREMT PROSTATE RECTUM SIJOINT SPLEEN STOMACH UPRURINARYTRACT URETER URETHRA UTERUS
53120007 Upper limb: ARM ELBOW EXTREMITY FINGER FOREARM HAND HUMERUS SHOULDER THUMB WRIST
61685007 Lower limb: ANKLE CALCANEUS EXTREMITY FEMUR FIBULA FOOT HIP KNEE LEG PATELLA PELVISLOWEXTREMT THIGH
    TIBIA TOE
113257007 Cardiovascular system: AORTA CAROTID HEART
80891009 Heart: HEART
76752008 Breast: BREAST
1141981001 Vertebral column: COCCYX CSPINE CTSPINE LSPINE LSSPINE SPINE SSPINE TLSPINE TSPINE
38266002 Entire body: WHOLEBODY
"""
ENTIRE_BODY: Final = Code("38266002", "SCT", "Entire body")


def _coarse() -> dict[str, tuple[Code, ...]]:
    """The coarse regions by the SNOMED CT code of a fine one, and of itself."""
    regions: dict[str, tuple[Code, ...]] = {}
    for entry in re.split(r"\n(?=[0-9])", _TARGET_REGIONS.strip()):
        head, _, keys = entry.partition(":")
        value, _, name = head.partition(" ")
        region = Code(value, "SCT", name)
        regions[value] = (region,)
        for key in keys.split():
            fine = BODY_PARTS[key].value
            if fine != value:
                regions[fine] = (*regions.get(fine, ()), region)
    return regions


_COARSE: Final = _coarse()


def target_regions(fine: Iterable[Code]) -> tuple[Code, ...]:
    """The coarse regions by which a study is searched, each once; empty when none of the codes is known."""
    return tuple(dict.fromkeys(region for code in fine for region in _COARSE.get(code.value, ())))
