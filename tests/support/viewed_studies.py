"""Studies to look at in a browser: one of every kind of object, and one image in every transfer syntax."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid

from shared.dicom import uids
from tests.support.dicom import a_ct, part10, with_pixels
from tests.support.reports import a_cda, wrapped_in_cda
from xdsi.builtin_study import write_study

Pixels = np.ndarray[Any, Any]

SLICES = 4
FRAMES = 5
REPORT_TEXT = "No finding. <img src=x onerror=alert(1)>"
NOTE = "Look here"
#: A narrative that means well, and one that does not.
NARRATIVE = (
    '<list listType="ordered"><item>No <content styleCode="Bold">fracture</content>.</item></list>'
    "<table><tbody><tr><td>12 mm</td></tr></tbody></table><script>window.ran = 1</script>"
    '<paragraph onclick="window.ran = 1">&lt;img src=x onerror="window.ran = 1"></paragraph>'
    '<img src="https://elsewhere.example/a" onerror="window.ran = 1"/>'
    '<linkHtml href="https://elsewhere.example/">a link</linkHtml>'
    '<x:script xmlns:x="http://www.w3.org/1999/xhtml">window.ran = 1</x:script>'
)
PDF = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
    + (b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 100]>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n")
)
#: Two grey frames of 16 x 16 in H.264.
VIDEO = b64decode(
    """
AAAAIGZ0eXBpc29tAAACAGlzb21pc28yYXZjMW1wNDEAAAMIbW9vdgAAAGxtdmhkAAAAAAAAAAAAAAAAAAAD6AAAAZAAAQAAAQAAAAAAAAAAAAAA
AAEAAAAAAAAAAAAAAAAAAAABAAAAAAAAAAAAAAAAAABAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAgAAAld0cmFrAAAAXHRraGQAAAAD
AAAAAAAAAAAAAAABAAAAAAAAAZAAAAAAAAAAAAAAAAAAAAAAAAEAAAAAAAAAAAAAAAAAAAABAAAAAAAAAAAAAAAAAABAAAAAABAAAAAQAAAAAAAk
ZWR0cwAAABxlbHN0AAAAAAAAAAEAAAGQAAAAAAABAAAAAAHPbWRpYQAAACBtZGhkAAAAAAAAAAAAAAAAAAAoAAAAEABVxAAAAAAALWhkbHIAAAAA
AAAAAHZpZGUAAAAAAAAAAAAAAABWaWRlb0hhbmRsZXIAAAABem1pbmYAAAAUdm1oZAAAAAEAAAAAAAAAAAAAACRkaW5mAAAAHGRyZWYAAAAAAAAA
AQAAAAx1cmwgAAAAAQAAATpzdGJsAAAAunN0c2QAAAAAAAAAAQAAAKphdmMxAAAAAAAAAAEAAAAAAAAAAAAAAAAAAAAAABAAEABIAAAASAAAAAAA
AAABDExhdmMgbGlieDI2NAAAAAAAAAAAAAAAAAAAAAAAAAAAGP//AAAAMGF2Y0MBQsAK/+EAF2dCwAqmEXsBEAAAAwAQAAADAKDxImEYAQAGaMhC
A5LIAAAAEHBhc3AAAAABAAAAAQAAABRidHJ0AAAAAAAAAaQAAAAAAAAAGHN0dHMAAAAAAAAAAQAAAAIAAAgAAAAAFHN0c3MAAAAAAAAAAQAAAAEA
AAAcc3RzYwAAAAAAAAABAAAAAQAAAAIAAAABAAAAHHN0c3oAAAAAAAAAAAAAAAIAAAAMAAAACQAAABRzdGNvAAAAAAAAAAEAAAM4AAAAPXVkdGEA
AAA1bWV0YQAAAAAAAAAhaGRscgAAAAAAAAAAbWRpcmFwcGwAAAAAAAAAAAAAAAAIaWxzdAAAAAhmcmVlAAAAHW1kYXQAAAAIZYiCAh5MUcAAAAAF
QZocD/U=
    """
)

_MR = "1.2.840.10008.5.1.4.1.1.4"
_ULTRASOUND = "1.2.840.10008.5.1.4.1.1.3.1"
_KEY_OBJECTS = "1.2.840.10008.5.1.4.1.1.88.59"
_GRAYSCALE_STATE = "1.2.840.10008.5.1.4.1.1.11.1"
_PSEUDO_COLOR_STATE = "1.2.840.10008.5.1.4.1.1.11.3"
_BLENDING_STATE = "1.2.840.10008.5.1.4.1.1.11.4"
_PDF_STORAGE = "1.2.840.10008.5.1.4.1.1.104.1"
_CDA_STORAGE = "1.2.840.10008.5.1.4.1.1.104.2"
_VIDEO_PHOTOGRAPHIC = "1.2.840.10008.5.1.4.1.1.77.1.4.1"
_H264 = "1.2.840.10008.1.2.4.102"


# --- one of every kind -------------------------------------------------------------------------------


def write_objects(folder: Path, patient: str, **changes: Any) -> None:
    """A study of slices, key images, a presentation state, a report, a document, a video and an ultrasound
    clip; `changes` go into every instance."""
    slices = _slices(folder, patient, **changes)
    others = (
        (_key_images(slices[2]), uids.EXPLICIT_LE),
        (_presentation_state(slices[1]), uids.EXPLICIT_LE),
        (_coloured(slices[1]), uids.EXPLICIT_LE),
        (_state(slices[1], _BLENDING_STATE, "Blended"), uids.EXPLICIT_LE),
        (_report(slices[3]), uids.EXPLICIT_LE),
        (_document(), uids.EXPLICIT_LE),
        (_clinical_document("Findings", a_cda(NARRATIVE, title="CT of the chest")), uids.EXPLICIT_LE),
        (_clinical_document("Wrapped", wrapped_in_cda("application/pdf", PDF)), uids.EXPLICIT_LE),
        (_clip(), uids.EXPLICIT_LE),
        (_video(), _H264),
    )
    for number, (made, syntax) in enumerate(others, 2):
        made.SeriesNumber, made.SeriesInstanceUID, made.SOPInstanceUID = (
            number,
            generate_uid(),
            generate_uid(),
        )
        for name in (
            "StudyInstanceUID",
            "PatientID",
            "PatientName",
            "PatientBirthDate",
            "StudyDate",
            "StudyTime",
        ):
            setattr(made, name, getattr(slices[0], name))
        (folder / f"object-{number}.dcm").write_bytes(part10(made, syntax, compress=False))


def _slices(folder: Path, patient: str, **changes: Any) -> list[Dataset]:
    paths = write_study(folder)
    for path in paths[SLICES:]:
        path.unlink()
    slices = []
    for path in paths[:SLICES]:
        image = pydicom.dcmread(path)
        image.PatientID, image.SeriesDescription = patient, "Slices"
        for name, value in changes.items():
            setattr(image, name, value)
        image.save_as(path, enforce_file_format=True)
        slices.append(image)
    return slices


def _without_pixels(sop_class: str, modality: str, description: str) -> Dataset:
    made = a_ct(SOPClassUID=sop_class, Modality=modality, SeriesDescription=description)
    for element in [element for element in made if element.tag.group in (0x0028, 0x7FE0)]:
        del made[element.tag]
    return made


def _coded(value: str, scheme: str, meaning: str) -> Sequence:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return Sequence([code])


def _reference(image: Dataset) -> Sequence:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    return Sequence([item])


def _item(kind: str, name: str, **values: Any) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", kind
    item.ConceptNameCodeSequence = _coded("121071", "DCM", name)
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def _key_images(image: Dataset) -> Dataset:
    made = _without_pixels(_KEY_OBJECTS, "KO", "Key images")
    made.ValueType, made.ContinuityOfContent = "CONTAINER", "SEPARATE"
    made.ConceptNameCodeSequence = _coded("113000", "DCM", "Of Interest")
    made.ContentSequence = [_item("IMAGE", "Key", ReferencedSOPSequence=_reference(image))]
    series = Dataset()
    series.SeriesInstanceUID, series.ReferencedSOPSequence = image.SeriesInstanceUID, _reference(image)
    evidence = Dataset()
    evidence.StudyInstanceUID, evidence.ReferencedSeriesSequence = image.StudyInstanceUID, [series]
    made.CurrentRequestedProcedureEvidenceSequence = [evidence]
    return made


def _presentation_state(image: Dataset) -> Dataset:
    """Window 300 ± 250, inverted, turned by 90°, a note at the pixel (64, 32), a line and a round shutter."""
    made = _without_pixels(_GRAYSCALE_STATE, "PR", "Presentation")
    made.ContentLabel, made.ContentDescription, made.ContentCreatorName = "LOOK", "Look at it", "Roe^Ann"
    made.PresentationLUTShape, made.ImageHorizontalFlip, made.ImageRotation = "INVERSE", "N", 90
    series = Dataset()
    series.SeriesInstanceUID, series.ReferencedImageSequence = image.SeriesInstanceUID, _reference(image)
    made.ReferencedSeriesSequence = [series]
    window = Dataset()
    window.ReferencedImageSequence = _reference(image)
    window.WindowCenter, window.WindowWidth = 300, 500
    made.SoftcopyVOILUTSequence = [window]
    made.ShutterShape, made.CenterOfCircularShutter, made.RadiusOfCircularShutter = (
        "CIRCULAR",
        [128, 128],
        100,
    )
    note, line, annotation = Dataset(), Dataset(), Dataset()
    note.UnformattedTextValue, note.AnchorPointAnnotationUnits = NOTE, "PIXEL"
    note.AnchorPoint, note.AnchorPointVisibility = [64, 32], "N"
    line.GraphicAnnotationUnits, line.GraphicDimensions, line.NumberOfGraphicPoints = "PIXEL", 2, 2
    line.GraphicData, line.GraphicType, line.GraphicFilled = [64, 32, 128, 128], "POLYLINE", "N"
    annotation.ReferencedImageSequence, annotation.GraphicLayer = _reference(image), "L"
    annotation.TextObjectSequence, annotation.GraphicObjectSequence = [note], [line]
    made.GraphicAnnotationSequence = [annotation]
    return made


def _coloured(image: Dataset) -> Dataset:
    """Black to red, by a palette that is too long to stand in metadata."""
    made = _state(image, _PSEUDO_COLOR_STATE, "Coloured")
    window = Dataset()
    window.WindowCenter, window.WindowWidth = 0, 1000
    made.SoftcopyVOILUTSequence = [window]
    made.ICCProfile, made.ColorSpace = b"\0" * 128, "ADOBERGB"
    ramps = {"Red": np.linspace(0, 65_535, 4096), "Green": np.zeros(4096), "Blue": np.zeros(4096)}
    for name, ramp in ramps.items():
        setattr(made, f"{name}PaletteColorLookupTableDescriptor", [4096, 0, 16])
        setattr(made, f"{name}PaletteColorLookupTableData", ramp.astype("<u2").tobytes())
    return made


def _state(image: Dataset, sop_class: str, description: str) -> Dataset:
    """A presentation state that is about an image, and says nothing of it yet."""
    made = _without_pixels(sop_class, "PR", description)
    made.ContentLabel, made.ContentCreatorName = description.upper(), "Roe^Ann"
    series = Dataset()
    series.SeriesInstanceUID, series.ReferencedImageSequence = image.SeriesInstanceUID, _reference(image)
    made.ReferencedSeriesSequence = [series]
    return made


def _report(image: Dataset) -> Dataset:
    made = _without_pixels("1.2.840.10008.5.1.4.1.1.88.22", "SR", "Report")
    made.ValueType, made.CompletionFlag, made.VerificationFlag = "CONTAINER", "COMPLETE", "VERIFIED"
    made.ConceptNameCodeSequence = _coded("18748-4", "LN", "Diagnostic imaging report")
    measured = Dataset()
    measured.NumericValue, measured.MeasurementUnitsCodeSequence = "12.5", _coded("mm", "UCUM", "mm")
    findings = _item("CONTAINER", "Findings")
    findings.ContentSequence = [
        _item("TEXT", "Finding", TextValue=REPORT_TEXT),
        _item("CODE", "Region", ConceptCodeSequence=_coded("51185008", "SCT", "Chest")),
        _item("NUM", "Diameter", MeasuredValueSequence=[measured]),
        _item("PNAME", "Observer", PersonName="Roe^Ann"),
        _item("IMAGE", "Best seen in", ReferencedSOPSequence=_reference(image)),
    ]
    made.ContentSequence = [findings]
    return made


def _document() -> Dataset:
    made = _without_pixels(_PDF_STORAGE, "DOC", "Letter")
    made.MIMETypeOfEncapsulatedDocument, made.EncapsulatedDocument = (
        "application/pdf",
        PDF + b" " * (len(PDF) % 2),
    )
    made.EncapsulatedDocumentLength, made.BurnedInAnnotation = len(PDF), "NO"
    return made


def _clinical_document(description: str, cda: bytes) -> Dataset:
    made = _without_pixels(_CDA_STORAGE, "DOC", description)
    made.MIMETypeOfEncapsulatedDocument, made.EncapsulatedDocument = "text/XML", cda + b"\0" * (len(cda) % 2)
    made.EncapsulatedDocumentLength, made.BurnedInAnnotation = len(cda), "NO"
    return made


def _clip() -> Dataset:
    """Frames in colour, 4 in a second; frame n has n * 40 in its first component."""
    made = a_ct(
        SOPClassUID=_ULTRASOUND, Modality="US", SeriesDescription="Clip", NumberOfFrames=FRAMES, FrameTime=250
    )
    pixels = np.full((FRAMES, 48, 64, 3), 7, np.uint8)
    pixels[..., 0] = np.arange(FRAMES)[:, None, None] * 40
    with_pixels(made, pixels)
    return made


def _video() -> Dataset:
    made = a_ct(SOPClassUID=_VIDEO_PHOTOGRAPHIC, Modality="XC", SeriesDescription="Film", NumberOfFrames=2)
    with_pixels(made, np.zeros((1, 16, 16, 3), np.uint8))
    made.PhotometricInterpretation = "YBR_PARTIAL_420"
    made.PixelData = encapsulate([VIDEO])
    made["PixelData"].VR = "OB"
    return made


def write_two_names(folder: Path, patient: str) -> None:
    """Two studies of one image each, under the id of one patient and two names."""
    for number, name in enumerate(("Phantom^Phoebe", "Roe^Rick")):
        image = a_ct(PatientID=patient, PatientName=name, SeriesDescription=name)
        with_pixels(image, _pattern(12)[None])
        image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID = (
            generate_uid() for _ in range(3)
        )
        (folder / name).mkdir(parents=True)
        (folder / name / f"{number}.dcm").write_bytes(part10(image))


# --- every transfer syntax ---------------------------------------------------------------------------


def write_syntaxes(folder: Path, patient: str) -> dict[str, Pixels]:
    """A study with a series of one image for each transfer syntax of still images that is encoded here; the
    pixels of each as pydicom decodes them, or another decoder where pydicom has none here, by the name of its
    series."""
    folder.mkdir(parents=True, exist_ok=True)
    study = generate_uid()
    values: dict[str, Pixels] = {}
    for number, (name, octets) in enumerate(_in_every_syntax(study, patient), 1):
        path = folder / f"{number}.dcm"
        path.write_bytes(octets)
        image = pydicom.dcmread(path)
        if image.file_meta.TransferSyntaxUID in _DECODED_ELSEWHERE:
            values[name] = imagecodecs.jpeg_decode(next(generate_frames(image.PixelData, number_of_frames=1)))
        else:
            values[name] = image.pixel_array
    return values


_DECODED_ELSEWHERE = {uids.JPEG_EXTENDED, uids.JPEG_LOSSLESS, uids.JPEG_LOSSLESS_SV1}


def _in_every_syntax(study: str, patient: str) -> Iterator[tuple[str, bytes]]:
    for number, (name, (syntax, bits, encode)) in enumerate(_SYNTAXES.items(), 1):
        image = a_ct(
            SOPClassUID=_MR,
            Modality="MR",
            PatientID=patient,
            PatientName="Phantom^Phoebe",
            StudyInstanceUID=study,
            SeriesInstanceUID=generate_uid(),
            SOPInstanceUID=generate_uid(),
            SeriesNumber=number,
            SeriesDescription=name,
        )
        pixels = _pattern(bits)
        with_pixels(image, pixels[None])
        image.BitsStored, image.HighBit = bits, bits - 1
        if encode is None:
            yield name, part10(image, syntax)
            continue
        if name in _LOSSY_BY_JPEG:
            image.LossyImageCompression, image.LossyImageCompressionMethod = "01", "ISO_10918_1"
        image.PixelData = encapsulate([encode(pixels)])
        image["PixelData"].VR = "OB"
        yield name, part10(image, syntax, compress=False)


_LOSSY_BY_JPEG = ("JPEG baseline", "JPEG extended")


def _pattern(bits: int) -> Pixels:
    """Blocks of 16 x 16, each of its own value, with a slope in them."""
    y, x = np.mgrid[:128, :128]
    pixels = ((x // 16 * 8 + y // 16) * 31 + x % 16) % 2**bits
    return pixels.astype(np.uint8 if bits == 8 else np.uint16)


def _lossless_jpeg(predictor: int) -> Callable[[Pixels], bytes]:
    return lambda pixels: bytes(
        imagecodecs.jpeg_encode(pixels, bitspersample=12, lossless=True, predictor=predictor)
    )


_SYNTAXES: dict[str, tuple[str, int, Callable[[Pixels], bytes] | None]] = {
    "Explicit VR LE": (uids.EXPLICIT_LE, 12, None),
    "Implicit VR LE": (uids.IMPLICIT_LE, 12, None),
    "Deflated": (uids.DEFLATED_LE, 12, None),
    "RLE lossless": (uids.RLE, 12, None),
    "JPEG baseline": (uids.JPEG_BASELINE, 8, lambda pixels: bytes(imagecodecs.jpeg8_encode(pixels, 95))),
    "JPEG extended": (
        uids.JPEG_EXTENDED,
        12,
        lambda pixels: bytes(imagecodecs.jpeg_encode(pixels, 95, bitspersample=12)),
    ),
    "JPEG lossless, any predictor": (uids.JPEG_LOSSLESS, 12, _lossless_jpeg(4)),
    "JPEG lossless SV1": (uids.JPEG_LOSSLESS_SV1, 12, _lossless_jpeg(1)),
    "JPEG-LS lossless": (uids.JPEG_LS_LOSSLESS, 12, None),
    "JPEG-LS near": (uids.JPEG_LS_NEAR, 12, lambda pixels: bytes(imagecodecs.jpegls_encode(pixels, 2))),
    "JPEG 2000 reversible": (uids.JPEG_2000_LOSSLESS, 12, None),
    "JPEG 2000 lossy": (
        uids.JPEG_2000,
        12,
        lambda pixels: bytes(imagecodecs.jpeg2k_encode(pixels, 40, codecformat="j2k", bitspersample=12)),
    ),
    "HTJ2K reversible": (
        uids.HTJ2K_LOSSLESS,
        12,
        lambda pixels: bytes(imagecodecs.htj2k_encode(pixels, reversible=True)),
    ),
    "HTJ2K lossy": (uids.HTJ2K, 12, lambda pixels: bytes(imagecodecs.htj2k_encode(pixels, 0.001))),
}
