"""The header of an instance: what is noted of it for the index, the manifest and searches."""

from __future__ import annotations

from typing import Final

HEADER_TAGS: Final = frozenset(
    {
        0x00080005,  # Specific Character Set
        0x00080016,  # SOP Class UID
        0x00080018,  # SOP Instance UID
        0x00080020,  # Study Date
        0x00080021,  # Series Date
        0x00080022,  # Acquisition Date
        0x00080023,  # Content Date
        0x0008002A,  # Acquisition DateTime
        0x00080030,  # Study Time
        0x00080031,  # Series Time
        0x00080032,  # Acquisition Time
        0x00080033,  # Content Time
        0x00080050,  # Accession Number
        0x00080051,  # Issuer of Accession Number Sequence
        0x00080060,  # Modality
        0x00080070,  # Manufacturer
        0x00080080,  # Institution Name
        0x00080090,  # Referring Physician's Name
        0x00080201,  # Timezone Offset From UTC
        0x00081030,  # Study Description
        0x00081032,  # Procedure Code Sequence
        0x0008103E,  # Series Description
        0x00081040,  # Institutional Department Name
        0x00082218,  # Anatomic Region Sequence
        0x00100010,  # Patient's Name
        0x00100020,  # Patient ID
        0x00100021,  # Issuer of Patient ID
        0x00100024,  # Issuer of Patient ID Qualifiers Sequence
        0x00100030,  # Patient's Birth Date
        0x00100040,  # Patient's Sex
        0x00101002,  # Other Patient IDs Sequence
        0x00180015,  # Body Part Examined
        0x00181030,  # Protocol Name
        0x0020000D,  # Study Instance UID
        0x0020000E,  # Series Instance UID
        0x00200010,  # Study ID
        0x00200011,  # Series Number
        0x00200013,  # Instance Number
        0x00280002,  # Samples per Pixel
        0x00280008,  # Number of Frames
        0x00280010,  # Rows
        0x00280011,  # Columns
        0x00280100,  # Bits Allocated
        0x00321060,  # Requested Procedure Description
        0x00321064,  # Requested Procedure Code Sequence
        0x00400244,  # Performed Procedure Step Start Date
        0x00400245,  # Performed Procedure Step Start Time
        0x00400026,  # Order Placer Identifier Sequence
        0x00400027,  # Order Filler Identifier Sequence
        0x00400275,  # Request Attributes Sequence
        0x00401001,  # Requested Procedure ID
        0x00402016,  # Placer Order Number / Imaging Service Request
        0x00402017,  # Filler Order Number / Imaging Service Request
        0x0040A043,  # Concept Name Code Sequence: the title of a document
        0x0040A370,  # Referenced Request Sequence
    }
)
