/** Palettes of pseudo-colour presentation states (PS3.3 A.33.3, C.7.9). */

import { TAG, numbers, text } from "./attributes";
import type { Attributes } from "./attributes";
import type { Dicomweb } from "./dicomweb";

const PSEUDO_COLOR = "1.2.840.10008.5.1.4.1.1.11.3";
const MOST_ENTRIES = 65_536;
/** More of them are more than is seen. */
const POINTS = 1024;

/** Colours from the least to the greatest value: each its place (0 to 1), then red, green and blue (0 to 1). */
export interface Colors {
  name: string;
  points: number[];
}

export const isPseudoColor = (of: Attributes) => text(of, TAG.SOPClassUID) === PSEUDO_COLOR;

/** The colours of a state; undefined where it has none that can be read, as where they are segmented. */
export async function colorsOf(dicomweb: Dicomweb, of: Attributes): Promise<Colors | undefined> {
  if (!isPseudoColor(of)) return undefined;
  const [told = 0, , bits = 16] = numbers(of, TAG.RedPaletteDescriptor);
  const entries = told || MOST_ENTRIES;
  const columns = await Promise.all([TAG.RedPalette, TAG.GreenPalette, TAG.BluePalette].map((tag) => dicomweb.octets(of[tag])));
  if (entries < 2 || columns.some((one) => one.length < entries)) return undefined;
  const wide = columns.every((one) => one.length >= 2 * entries);
  const value = (column: Uint8Array, k: number) =>
    (wide ? column[2 * k]! + 256 * column[2 * k + 1]! : column[k]!) / (2 ** (wide && bits > 8 ? 16 : 8) - 1);
  const count = Math.min(entries, POINTS);
  const points = Array.from({ length: count }, (_, k) => {
    const entry = Math.round((k * (entries - 1)) / (count - 1));
    return [k / (count - 1), ...columns.map((one) => Math.min(1, value(one, entry)))];
  });
  return { name: text(of, TAG.SOPInstanceUID), points: points.flat() };
}
