/** Two views that scroll together: to the same place in space where both lie in one, else by as many images. */

import { TAG, text } from "./attributes";
import type { Pane } from "./pane";
import { normalOf, placeOf } from "./series";

const last = new WeakMap<Pane, number>();

/** Let `other` follow `pane`. */
export function together(pane: Pane, other: Pane): void {
  const here = pane.picture?.attributes;
  const there = other.pictures[0]?.attributes;
  if (!here || !there) return;
  const step = pane.index - (last.get(pane) ?? pane.index);
  last.set(pane, pane.index);
  const normal = normalOf(here);
  const frame = text(here, TAG.FrameOfReferenceUID);
  const place = normal && placeOf(here, normal);
  const isSameSpace = frame !== "" && frame === text(there, TAG.FrameOfReferenceUID);
  if (!isSameSpace || normal === undefined || place === undefined) return other.scroll(step);
  const distances = other.pictures.map((one) => Math.abs((placeOf(one.attributes, normal) ?? Infinity) - place));
  other.goTo(distances.indexOf(Math.min(...distances)));
}
