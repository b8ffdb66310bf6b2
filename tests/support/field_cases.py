"""Inputs from the field that broke things: those of each kind that are made here, and the very ones where
they are.

Each case is a folder `<number>-<what it is>`; a test that asks for `field_cases` runs on both.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from shared.dicom.uids import DEFLATED_LE, IMPLICIT_LE, JPEG_2000_LOSSLESS
from tests.support.dicom import a_ct, changed, part10, with_pixels
from tests.support.kos import a_kos, item, series, study
from tests.support.metadata import DOMAIN

CASES = Path(__file__).parents[3] / "shared" / "field-cases"
#: Umlauts, and a name in Hangul as EUC-KR.
UMLAUTS, HANGUL = "Müller^Jürgen", "홍^길동"

# As long as the UID in whose place it stands: the library that writes files does not know it yet.
_DEFLATED_FRAMES = b"1.2.840.10008.1.2.8.1\0"
_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
_MODALITY, _INSTITUTION, _PIXELS = b"\x08\x00\x60\x00", b"\x08\x00\x80\x00", b"\xe0\x7f\x10\x00"
_META_LENGTH_AT, _META_AT = 140, 144

Files = Mapping[str, bytes]


@dataclass(frozen=True)
class FieldCases:
    """The cases below `folder`."""

    folder: Path

    def case(self, number: str) -> Path:
        """The folder of one."""
        [folder] = self.folder.glob(f"{number}-*")
        return folder

    def octets(self, number: str, name: str = "in.dcm") -> bytes:
        """A file of one."""
        return (self.case(number) / name).read_bytes()

    def header(self, number: str, name: str) -> str:
        """A header of the request of one."""
        lines = self.octets(number, "request.http").decode("latin-1").splitlines()
        [value] = [line.partition(":")[2].strip() for line in lines if line.lower().startswith(f"{name}:")]
        return value


@pytest.fixture(scope="session", params=["made here", "from the field"])
def field_cases(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FieldCases:
    """The cases that are made here, then those from the field."""
    if request.param == "made here":
        return made_cases(tmp_path_factory.mktemp("field-cases"))
    if not CASES.is_dir():
        pytest.skip(
            "the cases from the field are not here; those of each kind that are made here were tested"
        )
    return FieldCases(CASES)


def made_cases(folder: Path) -> FieldCases:
    """Write one case of each kind."""
    for name, make in MADE.items():
        (folder / name).mkdir()
        for file, octets in make().items():
            (folder / name / file).write_bytes(octets)
    return FieldCases(folder)


# --- how files are broken ------------------------------------------------------------------------------


def parts(octets: bytes) -> tuple[bytes, bytes]:
    """A file as what stands before its data set, and the data set."""
    (length,) = struct.unpack_from("<I", octets, _META_LENGTH_AT)
    at = _META_AT + length
    return octets[:at], octets[at:]


def element(tag: bytes, vr: bytes, value: bytes) -> bytes:
    """An element in Explicit VR Little Endian, of a VR with a short length."""
    return tag + vr + struct.pack("<H", len(value)) + value


def before(octets: bytes, tag: bytes, *inserted: bytes) -> bytes:
    """A file with something put before the element of a tag that it has."""
    head, data_set = parts(octets)
    at = data_set.index(tag)
    return head + data_set[:at] + b"".join(inserted) + data_set[at:]


def loose(data_set: Dataset, **values: str) -> Dataset:
    """A data set with values that are not legal for their VR."""
    for keyword, value in values.items():
        setattr(data_set, keyword, "")
        plain = data_set[keyword]
        data_set[keyword] = DataElement(plain.tag, plain.VR, value, validation_mode=config.IGNORE)
    return data_set


def with_name(name: bytes, character_set: bytes | None) -> bytes:
    """A file whose Patient's Name is these octets under a Specific Character Set, or under none."""
    placeholder = "X" * len(name)
    changes = {"SpecificCharacterSet": None} if character_set is None else {}
    octets = part10(a_ct(PatientName=placeholder, **changes))
    if character_set is not None:
        octets = octets.replace(b"ISO_IR 192", character_set)
    return octets.replace(placeholder.encode(), name)


# --- the cases -----------------------------------------------------------------------------------------


def a_delimiter_at_the_end() -> Files:
    return {"in.dcm": part10(a_ct()) + b"\xfe\xff\x0d\xe0\0\0\0\0"}


def file_meta_twice() -> Files:
    head, data_set = parts(part10(a_ct()))
    again = element(b"\x02\x00\x10\x00", b"UI", IMPLICIT_LE.encode() + b"\0")
    again += element(b"\x02\x00\x12\x00", b"UI", b"2.25.99\0")
    return {"in.dcm": head + again + data_set}


def an_element_without_vr() -> Files:
    explicit = element(_INSTITUTION, b"LO", b"CLINIC")
    octets = part10(a_ct(InstitutionName="CLINIC"))
    assert explicit in octets
    return {"in.dcm": octets.replace(explicit, _INSTITUTION + struct.pack("<I", 6) + b"CLINIC")}


def another_syntax_than_said() -> Files:
    said, _ = parts(part10(a_ct(), IMPLICIT_LE))
    _, data_set = parts(part10(a_ct()))
    return {"in.dcm": said + data_set}


def a_bare_data_set() -> Files:
    _, data_set = parts(part10(a_ct(), IMPLICIT_LE))
    whole = part10(a_ct(SOPInstanceUID="2.25.14"))
    return {"in.dcm": data_set, "whole.dcm": whole, "README": b"what is in this folder\n"}


def another_uid_in_file_meta() -> Files:
    head, _ = parts(part10(a_ct(SOPInstanceUID="2.25.99")))
    _, data_set = parts(part10(a_ct()))
    return {"in.dcm": head + data_set}


def a_sparse_segmentation() -> Files:
    image = a_ct(SOPClassUID=_SEGMENTATION, Modality="SEG", NumberOfFrames=200)
    with_pixels(image, np.zeros((200, 128, 128), dtype=np.uint8))
    return {"in.dcm": part10(image, DEFLATED_LE)}


def deflated_frames() -> Files:
    image = a_ct()
    deflate = zlib.compressobj(wbits=-15)
    image.PixelData = encapsulate([deflate.compress(image.PixelData) + deflate.flush()])
    image["PixelData"].VR = "OB"
    image["PixelData"].is_undefined_length = True
    octets = part10(image, JPEG_2000_LOSSLESS, compress=False)
    return {"in.dcm": octets.replace(JPEG_2000_LOSSLESS.encode(), _DEFLATED_FRAMES)}


def a_wrong_vr() -> Files:
    image = a_ct()
    image[0x00120064] = DataElement(0x00120064, "LO", "removed by a tool")
    return {"in.dcm": part10(image)}


def an_element_twice() -> Files:
    return {"in.dcm": before(part10(a_ct()), _MODALITY, element(_MODALITY, b"CS", b"CT"))}


def a_private_value_of_undefined_length() -> Files:
    creator = element(b"\x29\x00\x10\x00", b"LO", b"XDSI TESTS")
    value = b"\x29\x00\x01\x10OB\0\0\xff\xff\xff\xff"
    value += b"\xfe\xff\x00\xe0" + struct.pack("<I", 4) + b"\1\2\3\4" + b"\xfe\xff\xdd\xe0\0\0\0\0"
    return {"in.dcm": before(part10(a_ct()), _PIXELS, creator, value)}


def a_character_set_with_a_blank() -> Files:
    return {"in.dcm": with_name(UMLAUTS.encode(), b"ISO IR 192")}


def a_character_set_that_is_none() -> Files:
    return {"in.dcm": with_name(HANGUL.encode("euc_kr"), b"ISO_IR 149")}


def no_character_set() -> Files:
    return {"in.dcm": with_name(UMLAUTS.encode(), None)}


def a_long_accession_number() -> Files:
    return {"in.dcm": part10(loose(a_ct(), AccessionNumber="RIS-2026-02-28-0000012345", StudyID="S" * 22))}


def a_sex_and_dates_as_people_write_them() -> Files:
    image = loose(a_ct(), PatientSex="MALE", PatientBirthDate="1950-10-07", StudyDate="2026/02/28")
    return {"in.dcm": part10(image)}


def a_date_of_the_series_alone() -> Files:
    dates = {"SeriesDate": "20260301", "AcquisitionDate": "20260301", "ContentDate": "20260301"}
    return {"in.dcm": part10(a_ct(StudyDate="", StudyTime="", **dates))}


def no_study_description() -> Files:
    code = item(CodeValue="KNEE1", CodingSchemeDesignator="99L", CodeMeaning="CT knee left")
    image = a_ct(StudyDescription="", SeriesDescription="bone", ProtocolName="KNEE")
    return {"in.dcm": part10(changed(image, ProcedureCodeSequence=[code]))}


def a_private_sop_class() -> Files:
    return {"in.dcm": part10(a_ct(SOPClassUID="2.25.7702.1"))}


def a_preamble_of_tiff() -> Files:
    return {"in.dcm": (b"II*\0" + bytes(range(4, 128))) + part10(a_ct())[128:]}


def one_instance_in_other_encodings() -> Files:
    explicit = part10(a_ct())
    head, data_set = parts(explicit)
    length = struct.pack("<I", data_set.index(b"\x10\x00\x10\x00"))
    return {
        "a-explicit.dcm": explicit,
        "b-implicit.dcm": part10(a_ct(), IMPLICIT_LE),
        "c-explicit-with-group-length.dcm": head + element(b"\x08\x00\x00\x00", b"UL", length) + data_set,
        "d-corrected-patient.dcm": part10(a_ct(PatientName="Corrected^Name")),
    }


def a_request(accept: str) -> Files:
    return {"request.http": f"GET /dicomweb/studies/2.25.11 HTTP/1.1\r\nAccept: {accept}\r\n\r\n".encode()}


def what_java_accepts() -> Files:
    return a_request("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2")


def bulk_data_in_parts() -> Files:
    return a_request('multipart/related; type="application/octet-stream"')


def a_patient_in_latin_1() -> Files:
    lines = (
        "MSH|^~\\&|RIS|HOSP|REG|XDS|20260228101500||ADT^A04^ADT_A01|77|P|2.3.1",
        "EVN|A04|20260228101500",
        f"PID|1||H7-900^^^&{DOMAIN}&ISO||{UMLAUTS}||19700101|M",
        "PV1||O",
    )
    return {"message.hl7": "".join(f"{line}\r" for line in lines).encode("latin-1")}


def a_manifest_without_url() -> Files:
    return {"manifest.dcm": a_kos(study(series(RetrieveLocationUID="2.25.7701", RetrieveAETitle="XDSI")))}


def a_manifest_without_location() -> Files:
    url = "http://127.0.0.1:8030/dicomweb/studies/2.25.3/series/2.25.4/instances/2.25.51"
    return {"manifest.dcm": a_kos(study(series(RetrieveURL=url, RetrieveAETitle="XDSI")))}


def a_reference_without_class() -> Files:
    reference = item(ReferencedSOPInstanceUID="2.25.51")
    return {"manifest.dcm": a_kos(study(series(reference, RetrieveLocationUID="2.25.7701")))}


MADE: dict[str, Callable[[], Files]] = {
    "01-delimiter": a_delimiter_at_the_end,
    "03-meta": file_meta_twice,
    "10-vr": an_element_without_vr,
    "12-syntax": another_syntax_than_said,
    "20-bare": a_bare_data_set,
    "21-uid": another_uid_in_file_meta,
    "28-sparse": a_sparse_segmentation,
    "29-frames": deflated_frames,
    "34-vr": a_wrong_vr,
    "35-twice": an_element_twice,
    "39-undefined": a_private_value_of_undefined_length,
    "40-blank": a_character_set_with_a_blank,
    "42-hangul": a_character_set_that_is_none,
    "48-unsaid": no_character_set,
    "60-accession": a_long_accession_number,
    "61-sex": a_sex_and_dates_as_people_write_them,
    "62-date": a_date_of_the_series_alone,
    "65-title": no_study_description,
    "75-private": a_private_sop_class,
    "76-tiff": a_preamble_of_tiff,
    "92-encodings": one_instance_in_other_encodings,
    "100-java": what_java_accepts,
    "102-bulk": bulk_data_in_parts,
    "110-latin": a_patient_in_latin_1,
    "120-url": a_manifest_without_url,
    "121-location": a_manifest_without_location,
    "122-class": a_reference_without_class,
}
