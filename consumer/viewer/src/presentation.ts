/** Softcopy presentation states: how somebody wanted images to be seen (PS3.3 A.33, C.10, C.11.6, C.11.8). */

import { TAG, items, number, numbers, person, text, texts } from "./attributes";
import type { Attributes } from "./attributes";
import type { Colors } from "./palette";
import { isPseudoColor } from "./palette";
import { WORDS } from "./words";

/** Column and row; of an image from its top left corner, or parts of what is shown of it (0 to 1). */
export type Place = [number, number];
export type Units = "PIXEL" | "DISPLAY";

/** Grayscale, colour and pseudo-colour (PS3.3 A.33.1 to A.33.3). */
const SHOWN = new Set(["1", "2", "3"].map((one) => `1.2.840.10008.5.1.4.1.1.11.${one}`));

export interface Drawing {
  kind: string;
  points: Place[];
  filled: boolean;
  units: Units;
}

export interface Note {
  text: string;
  at: Place;
  units: Units;
}

/** A shutter leaves open what is within: a circle, or the corners of a polygon, in pixels of the image. */
export type Opening = { center: Place; radius: number } | { corners: Place[] };

/** How one image is to be seen; `omitted` is what of it is not shown here, in words. */
export interface Appearance {
  label: string;
  omitted: string[];
  colors: Colors | undefined;
  window: { center: number; width: number } | undefined;
  isInverted: boolean;
  isFlipped: boolean;
  rotation: number;
  /** The corners of what is shown of it. */
  area: [Place, Place] | undefined;
  openings: Opening[];
  drawings: Drawing[];
  notes: Note[];
}

export interface PresentationState {
  uid: string;
  label: string;
  /** SOP Instance UIDs of the images that it is about. */
  images: Set<string>;
  /** Whether it masks, blends or does what else is not done here: images are not seen so at all. */
  isRefused: boolean;
  /** How it wants a frame of an image to be seen; undefined where it says nothing of it. */
  of(image: string, frame: number): Appearance | undefined;
}

/** The presentation state that an instance is, with the colours of its palette where it has one. */
export function presentationState(of: Attributes, colors?: Colors): PresentationState {
  const named = items(of, TAG.ReferencedSeries).flatMap((one) => items(one, TAG.ReferencedImage));
  const images = new Set(named.map((one) => text(one, TAG.ReferencedSOPInstanceUID)));
  const label = [text(of, TAG.ContentDescription) || text(of, TAG.ContentLabel), person(of, TAG.ContentCreator)].filter(Boolean).join(", ");
  return {
    uid: text(of, TAG.SOPInstanceUID),
    label,
    images,
    isRefused: !SHOWN.has(text(of, TAG.SOPClassUID)) || items(of, TAG.MaskSubtraction).length > 0 || (isPseudoColor(of) && !colors),
    of: (image, frame) => (images.has(image) ? appearance(of, label, colors, (item) => isAbout(item, image, frame)) : undefined),
  };
}

/** Whether an item is about a frame of an image: of all, where it names none. */
function isAbout(item: Attributes, image: string, frame: number): boolean {
  const named = items(item, TAG.ReferencedImage);
  return !named.length || named.some((one) => {
    const frames = numbers(one, TAG.ReferencedFrameNumber);
    return text(one, TAG.ReferencedSOPInstanceUID) === image && (!frames.length || frames.includes(frame));
  });
}

function appearance(of: Attributes, label: string, colors: Colors | undefined, isAbout: (item: Attributes) => boolean): Appearance {
  const annotations = items(of, TAG.GraphicAnnotations).filter(isAbout);
  return {
    label,
    omitted: omittedOf(of, isAbout),
    colors,
    window: items(of, TAG.SoftcopyVOILUT).filter(isAbout).map(windowOf)[0],
    isInverted: text(of, TAG.PresentationLUTShape) === "INVERSE",
    isFlipped: text(of, TAG.ImageHorizontalFlip) === "Y",
    rotation: number(of, TAG.ImageRotation) ?? 0,
    area: items(of, TAG.DisplayedArea).filter(isAbout).map(areaOf)[0],
    openings: [...openings(of)],
    drawings: annotations.flatMap((one) => items(one, TAG.GraphicObjects).map(drawing)),
    notes: annotations.flatMap((one) => items(one, TAG.TextObjects).flatMap(note)),
  };
}

/** What a state says that is not followed here, in words. */
function omittedOf(of: Attributes, isAbout: (item: Attributes) => boolean): string[] {
  const isOmitted: Record<keyof typeof WORDS.omitted, boolean> = {
    voiLut: items(of, TAG.SoftcopyVOILUT).filter(isAbout).some((one) => items(one, TAG.VOILUT).length > 0),
    presentationLut: items(of, TAG.PresentationLUT).length > 0,
    bitmap: texts(of, TAG.ShutterShape).includes("BITMAP"),
    overlay: Object.keys(of).some((tag) => /^60[01][02468ACE]1001$/.test(tag) && text(of, tag)),
    icc: Boolean(of[TAG.ICCProfile]) && text(of, TAG.ColorSpace) !== "SRGB",
  };
  return (Object.keys(isOmitted) as (keyof typeof WORDS.omitted)[]).filter((one) => isOmitted[one]).map((one) => WORDS.omitted[one]);
}

function windowOf(item: Attributes): Appearance["window"] {
  const [center, width] = [number(item, TAG.WindowCenter), number(item, TAG.WindowWidth)];
  return center === undefined || width === undefined ? undefined : { center, width };
}

function areaOf(item: Attributes): Appearance["area"] {
  const [left, top] = numbers(item, TAG.DisplayedAreaTopLeft);
  const [right, bottom] = numbers(item, TAG.DisplayedAreaBottomRight);
  // Pixels are counted from 1, and the last one is shown whole.
  return top === undefined || bottom === undefined ? undefined : [[left! - 1, top - 1], [right!, bottom]];
}

/** Shutters, whose pixels are counted from 1 in rows and columns (PS3.3 C.7.6.11). */
function* openings(of: Attributes): Generator<Opening> {
  const shapes = texts(of, TAG.ShutterShape);
  const of4 = [TAG.ShutterLeft, TAG.ShutterUpper, TAG.ShutterRight, TAG.ShutterLower].map((one) => number(of, one));
  const [left, top, right, bottom] = of4;
  if (shapes.includes("RECTANGULAR") && left !== undefined && top !== undefined && right !== undefined && bottom !== undefined)
    yield { corners: [[left, top - 1], [right - 1, top - 1], [right - 1, bottom - 1], [left, bottom - 1]] };
  const [row, column] = numbers(of, TAG.ShutterCenter);
  const radius = number(of, TAG.ShutterRadius);
  if (shapes.includes("CIRCULAR") && column !== undefined && radius) yield { center: [column - 0.5, row! - 0.5], radius };
  const vertices = pairs(numbers(of, TAG.ShutterVertices)).map(([r, c]): Place => [c - 0.5, r - 0.5]);
  if (shapes.includes("POLYGONAL") && vertices.length > 2) yield { corners: vertices };
}

function drawing(item: Attributes): Drawing {
  return {
    kind: text(item, TAG.GraphicType),
    points: pairs(numbers(item, TAG.GraphicData)),
    filled: text(item, TAG.GraphicFilled) === "Y",
    units: unitsOf(item, TAG.GraphicUnits),
  };
}

function note(item: Attributes): Note[] {
  const anchor = pairs(numbers(item, TAG.AnchorPoint))[0];
  const corner = pairs(numbers(item, TAG.BoundingBoxTopLeft))[0];
  const at = corner ?? anchor;
  const units = unitsOf(item, corner ? TAG.BoundingBoxUnits : TAG.AnchorPointUnits);
  return at ? [{ text: text(item, TAG.UnformattedText), at, units }] : [];
}

const unitsOf = (item: Attributes, tag: string): Units => (text(item, tag) === "DISPLAY" ? "DISPLAY" : "PIXEL");

function pairs(values: number[]): Place[] {
  return Array.from({ length: Math.floor(values.length / 2) }, (_, k) => [values[2 * k]!, values[2 * k + 1]!]);
}
