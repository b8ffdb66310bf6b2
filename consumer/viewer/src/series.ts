/** A series as it is shown: its images in the order of space, else of their numbers. */

import type { Dicomweb } from "./dicomweb";
import { Attributes, TAG, number, numbers, person, text } from "./attributes";

export type Vector = [number, number, number];

/** One frame of one instance. */
export interface Picture {
  imageId: string;
  attributes: Attributes;
  frame: number;
}

/** A series, and where its images come from. */
export interface Series {
  dicomweb: Dicomweb;
  uid: string;
  modality: string;
  number: string;
  description: string;
  sopClass: string;
  instances: number;
  /** Its first instance, as far as it is known without it. */
  first?: Attributes;
  /** What its first instance says, where that was asked for ahead. */
  head?: Promise<Attributes | undefined>;
}

/** Documents and others that have no pixels to scroll. */
const ENCAPSULATED = "1.2.840.10008.5.1.4.1.1.104.";
const VIDEO = [
  "1.2.840.10008.5.1.4.1.1.77.1.1.1",
  "1.2.840.10008.5.1.4.1.1.77.1.2.1",
  "1.2.840.10008.5.1.4.1.1.77.1.4.1",
];
const PRESENTATION_STATE = "1.2.840.10008.5.1.4.1.1.11.";
const KEY_OBJECTS = "1.2.840.10008.5.1.4.1.1.88.59";
const STRUCTURED_REPORT = "1.2.840.10008.5.1.4.1.1.88.";

export type Kind = "images" | "document" | "video" | "presentation" | "keys" | "report";

/** How instances of a SOP class are shown. */
export function kindOf(sopClass: string): Kind {
  if (sopClass.startsWith(ENCAPSULATED)) return "document";
  if (VIDEO.includes(sopClass)) return "video";
  if (sopClass.startsWith(PRESENTATION_STATE)) return "presentation";
  if (sopClass === KEY_OBJECTS) return "keys";
  if (sopClass.startsWith(STRUCTURED_REPORT)) return "report";
  return "images";
}

/** Who is shown, as far as the image says. */
export const patientOf = (of: Attributes) => ({
  name: person(of, TAG.PatientName),
  id: text(of, TAG.PatientID),
});

export const isSamePatient = (one: Attributes, other: Attributes) =>
  text(one, TAG.PatientID) === text(other, TAG.PatientID) &&
  person(one, TAG.PatientName).toUpperCase() === person(other, TAG.PatientName).toUpperCase();

/** The direction in which slices follow each other, where the image says how it lies. */
export function normalOf(of: Attributes): Vector | undefined {
  const [a, b, c, d, e, f] = numbers(of, TAG.ImageOrientationPatient);
  if (f === undefined) return undefined;
  return [b! * f - c! * e!, c! * d! - a! * f, a! * e! - b! * d!];
}

/** The place of an image along a direction, in millimetres. */
export function placeOf(of: Attributes, normal: Vector): number | undefined {
  const [x, y, z] = numbers(of, TAG.ImagePositionPatient);
  return z === undefined ? undefined : x! * normal[0] + y! * normal[1] + z * normal[2];
}

/** Instances in the order in which a person goes through them. */
export function inOrder(instances: Attributes[]): Attributes[] {
  const normal = instances[0] && normalOf(instances[0]);
  const places = new Map(instances.map((one) => [one, normal && placeOf(one, normal)]));
  const spatial = new Set(places.values()).size === instances.length && ![...places.values()].includes(undefined);
  const key = (one: Attributes) => (spatial ? places.get(one)! : number(one, TAG.InstanceNumber) ?? Infinity);
  return [...instances].sort((one, other) => key(one) - key(other));
}

/** Whether images are parallel slices at even distances, so that other planes can be cut through them. */
export function isVolume(instances: Attributes[]): boolean {
  const normal = instances[0] && normalOf(instances[0]);
  if (!normal || instances.length < 3) return false;
  const parallel = instances.every((one) => {
    const other = normalOf(one);
    return other && normal.every((value, k) => Math.abs(value - other[k]!) < 0.01);
  });
  const places = instances.map((one) => placeOf(one, normal));
  if (!parallel || places.includes(undefined)) return false;
  const gaps = places.slice(1).map((place, k) => place! - places[k]!);
  const usual = gaps[0]!;
  return usual !== 0 && gaps.every((gap) => Math.abs(gap - usual) < Math.abs(usual) * 0.1);
}
