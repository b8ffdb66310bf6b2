/** What is read of an instance's attributes, as they come in DICOM JSON (PS3.18 F). */

export interface Element {
  vr: string;
  Value?: unknown[];
  BulkDataURI?: string;
  InlineBinary?: string;
}
export type Attributes = Record<string, Element | undefined>;

export const TAG = {
  SOPClassUID: "00080016",
  SOPInstanceUID: "00080018",
  Modality: "00080060",
  SeriesDescription: "0008103E",
  StudyDescription: "00081030",
  StudyDate: "00080020",
  LossyImageCompression: "00282110",
  LossyImageCompressionMethod: "00282114",
  BitsStored: "00280101",
  PatientName: "00100010",
  PatientID: "00100020",
  PatientBirthDate: "00100030",
  SeriesInstanceUID: "0020000E",
  SeriesNumber: "00200011",
  InstanceNumber: "00200013",
  ImagePositionPatient: "00200032",
  ImageOrientationPatient: "00200037",
  FrameOfReferenceUID: "00200052",
  Laterality: "00200060",
  ImageLaterality: "00200062",
  PatientOrientation: "00200020",
  NumberOfFrames: "00280008",
  Rows: "00280010",
  Columns: "00280011",
  SamplesPerPixel: "00280002",
  BitsAllocated: "00280100",
  WindowCenter: "00281050",
  WindowWidth: "00281051",
  FrameTime: "00181063",
  CineRate: "00180040",
  ContentDate: "00080023",
  CodeMeaning: "00080104",
  ReferencedSOP: "00081199",
  ReferencedSOPInstanceUID: "00081155",
  MeasurementUnits: "004008EA",
  ValueType: "0040A040",
  ConceptName: "0040A043",
  DateTime: "0040A120",
  Date: "0040A121",
  Time: "0040A122",
  PersonName: "0040A123",
  UID: "0040A124",
  TextValue: "0040A160",
  ConceptCode: "0040A168",
  MeasuredValue: "0040A300",
  NumericValue: "0040A30A",
  Content: "0040A730",
  CompletionFlag: "0040A491",
  VerificationFlag: "0040A493",
  ReferencedSeries: "00081115",
  ReferencedImage: "00081140",
  ReferencedFrameNumber: "00081160",
  ContentLabel: "00700080",
  ContentDescription: "00700081",
  ContentCreator: "00700084",
  SoftcopyVOILUT: "00283110",
  PresentationLUTShape: "20500020",
  PresentationLUT: "20500010",
  VOILUT: "00283010",
  MaskSubtraction: "00286100",
  ICCProfile: "00282000",
  ColorSpace: "00282002",
  RedPaletteDescriptor: "00281101",
  RedPalette: "00281201",
  GreenPalette: "00281202",
  BluePalette: "00281203",
  ImageHorizontalFlip: "00700041",
  ImageRotation: "00700042",
  DisplayedArea: "0070005A",
  DisplayedAreaTopLeft: "00700052",
  DisplayedAreaBottomRight: "00700053",
  GraphicAnnotations: "00700001",
  GraphicUnits: "00700005",
  GraphicObjects: "00700009",
  GraphicData: "00700022",
  GraphicType: "00700023",
  GraphicFilled: "00700024",
  TextObjects: "00700008",
  UnformattedText: "00700006",
  BoundingBoxUnits: "00700003",
  AnchorPointUnits: "00700004",
  BoundingBoxTopLeft: "00700010",
  AnchorPoint: "00700014",
  ShutterShape: "00181600",
  ShutterLeft: "00181602",
  ShutterRight: "00181604",
  ShutterUpper: "00181606",
  ShutterLower: "00181608",
  ShutterCenter: "00181610",
  ShutterRadius: "00181612",
  ShutterVertices: "00181620",
} as const;

/** The values of an attribute as text, empty where it has none. */
export function texts(of: Attributes, tag: string): string[] {
  return (of[tag]?.Value ?? []).filter((one) => one !== null && one !== undefined).map(String);
}

/** The first value as text, "" where there is none. */
export function text(of: Attributes, tag: string): string {
  return texts(of, tag)[0] ?? "";
}

/** The values as numbers, those alone that are. */
export function numbers(of: Attributes, tag: string): number[] {
  return texts(of, tag).map(Number).filter(Number.isFinite);
}

/** The first value as a number, or undefined. */
export function number(of: Attributes, tag: string): number | undefined {
  return numbers(of, tag)[0];
}

/** The items of a sequence. */
export function items(of: Attributes, tag: string): Attributes[] {
  return (of[tag]?.Value ?? []).filter((one): one is Attributes => typeof one === "object" && one !== null);
}

/** A person's name as people write it: family name, then the others (PS3.5 6.2.1). */
export function person(of: Attributes, tag: string): string {
  const value = of[tag]?.Value?.[0];
  const name = typeof value === "object" && value !== null ? value as Record<string, unknown> : { Alphabetic: value };
  const [family = "", ...others] = String(name.Alphabetic ?? name.Ideographic ?? "").split("^");
  return [family, others.filter(Boolean).join(" ")].filter(Boolean).join(", ");
}

/** A date as ISO writes it, "" where it is none. */
export function date(of: Attributes, tag: string): string {
  return text(of, tag).replace(/^(\d{4})\.?(\d\d)\.?(\d\d)$/, "$1-$2-$3");
}
