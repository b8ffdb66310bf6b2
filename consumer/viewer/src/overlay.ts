/** What a presentation state draws over an image: lines, circles, notes, and shutters that hide the rest. */

import type { Appearance, Drawing, Opening, Place, Units } from "./presentation";

const SVG = "http://www.w3.org/2000/svg";

/** Where a place of an image lies in the view, in pixels of the screen. */
export type Placing = (place: Place) => Place;

export class Overlay {
  readonly host = made("svg", { class: "presentation", role: "img", "aria-label": "" });

  /** Draw what `appearance` holds over what is shown; nothing, where there is none. */
  draw(appearance: Appearance | undefined, shown: [Place, Place], placing: Placing): void {
    this.host.replaceChildren();
    this.host.setAttribute("aria-label", appearance?.notes.map((one) => one.text).join("; ") ?? "");
    if (!appearance) return this.host.setAttribute("hidden", "");
    this.host.removeAttribute("hidden");
    const within = placingOf(appearance.area ?? shown, placing);
    this.host.append(
      ...appearance.openings.map((one) => shutter(one, placing)),
      ...appearance.drawings.map((one) => shape(one, within[one.units])),
      ...appearance.notes.map((one) => label(one.text, within[one.units](one.at))),
    );
  }
}

/** DISPLAY counts in parts of what is shown, as it lies on the screen. */
function placingOf([one, other]: [Place, Place], placing: Placing): Record<Units, Placing> {
  const [a, b] = [placing(one), placing(other)];
  const [left, top] = [Math.min(a[0], b[0]), Math.min(a[1], b[1])];
  const [width, height] = [Math.abs(a[0] - b[0]), Math.abs(a[1] - b[1])];
  return { PIXEL: placing, DISPLAY: ([x, y]) => [left + x * width, top + y * height] };
}

function shape(drawing: Drawing, placing: Placing): SVGElement {
  const points = drawing.points.map(placing);
  const fill: Record<string, string> = drawing.filled ? {} : { fill: "none" };
  const [first, second] = points;
  if (drawing.kind === "POINT" && first) return made("circle", { cx: first[0], cy: first[1], r: 3 });
  if (drawing.kind === "CIRCLE" && first && second) return made("circle", { cx: first[0], cy: first[1], r: away(first, second), ...fill });
  if (drawing.kind === "ELLIPSE" && points.length === 4) return ellipse(points, fill);
  // Of an interpolated line the points are what is known of it.
  return made("polyline", { points: points.map(String).join(" "), ...fill });
}

/** The ends of the major axis, then of the minor one (PS3.3 C.10.5.1.2). */
function ellipse([a, b, c, d]: Place[], fill: Record<string, string>): SVGElement {
  const [x, y] = [(a![0] + b![0]) / 2, (a![1] + b![1]) / 2];
  const angle = (Math.atan2(b![1] - a![1], b![0] - a![0]) * 180) / Math.PI;
  return made("ellipse", { cx: x, cy: y, rx: away(a!, b!) / 2, ry: away(c!, d!) / 2, transform: `rotate(${angle} ${x} ${y})`, ...fill });
}

function label(text: string, [x, y]: Place): SVGElement {
  const lines = text.split(/\r?\n/).map((line, k) => {
    const one = made("tspan", { x, dy: k ? "1.2em" : 0 });
    one.textContent = line;
    return one;
  });
  const of = made("text", { x, y, "dominant-baseline": "hanging" });
  of.append(...lines);
  return of;
}

/** All but an opening, which lies in a field that is larger than any screen. */
function shutter(opening: Opening, placing: Placing): SVGElement {
  const field = "M-99999,-99999H99999V99999H-99999Z";
  const hole = "corners" in opening ? `M${opening.corners.map(placing).join("L")}Z` : round(opening, placing);
  return made("path", { class: "shutter", "fill-rule": "evenodd", d: field + hole });
}

function round({ center, radius }: { center: Place; radius: number }, placing: Placing): string {
  const [x, y] = placing(center);
  const r = away([x, y], placing([center[0] + radius, center[1]]));
  return `M${x - r},${y}a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0Z`;
}

const away = (one: Place, other: Place) => Math.hypot(one[0] - other[0], one[1] - other[1]);

function made<Name extends keyof SVGElementTagNameMap>(name: Name, attributes: Record<string, string | number>): SVGElementTagNameMap[Name] {
  const one = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) one.setAttribute(key, String(value));
  return one;
}
