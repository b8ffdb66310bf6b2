/** A cursor in a pane that the keyboard moves: it tells values, and sets the points of a measurement. */

import { AngleTool, EllipticalROITool, LengthTool, RectangleROITool } from "@cornerstonejs/tools";
import type { Types } from "@cornerstonejs/core";

import { element } from "./dom";
import type { PointerTool } from "./engine";
import type { Pane } from "./pane";

const STEP = 4;

/** How many points a measurement takes, and how it is made of them. */
const MEASUREMENTS: Partial<Record<PointerTool, { points: number; make(pane: string, points: Types.Point3[]): void }>> = {
  Length: { points: 2, make: (pane, points) => LengthTool.hydrate(pane, points) },
  Angle: { points: 3, make: (pane, points) => AngleTool.hydrate(pane, points) },
  RectangleROI: { points: 2, make: (pane, points) => RectangleROITool.hydrate(pane, points) },
  EllipticalROI: { points: 2, make: (pane, points) => EllipticalROITool.hydrate(pane, points) },
};

export class Cursor {
  readonly mark = element("div", { class: "cursor", hidden: true, "aria-hidden": "true" });
  private at: Types.Point2 = [0, 0];
  private points: Types.Point2[] = [];

  constructor(private readonly pane: Pane) {}

  get isOn(): boolean {
    return !this.mark.hidden;
  }

  toggle(): void {
    this.mark.hidden = this.isOn;
    this.points = [];
    const [width, height] = this.pane.size;
    this.at = [width / 2, height / 2];
    this.move(0, 0);
  }

  /** Move by steps of some pixels. */
  move(x: number, y: number): void {
    const [width, height] = this.pane.size;
    this.at = [within(this.at[0] + x * STEP, width), within(this.at[1] + y * STEP, height)];
    this.place();
    this.pane.tellValue(this.at);
  }

  /** Draw it where it is. */
  place(): void {
    this.mark.style.translate = `${this.at[0]}px ${this.at[1]}px`;
  }

  /** Set a point of a measurement; with its last one it is made. */
  set(tool: PointerTool): void {
    const measurement = MEASUREMENTS[tool];
    if (!measurement) return;
    this.points.push(this.at);
    this.mark.dataset.points = String(this.points.length);
    if (this.points.length < measurement.points) return;
    const given = tool === "RectangleROI" || tool === "EllipticalROI" ? box(tool, this.points) : this.points;
    measurement.make(this.pane.id, given.map((one) => this.pane.viewport.canvasToWorld(one)));
    this.pane.viewport.render();
    this.points = [];
    this.mark.dataset.points = "0";
  }
}

/** The points by which a region between two corners is known: corners of a rectangle, ends of an ellipse's axes. */
function box(tool: PointerTool, [one, other]: Types.Point2[]): Types.Point2[] {
  const [left, right] = [Math.min(one![0], other![0]), Math.max(one![0], other![0])];
  const [top, bottom] = [Math.min(one![1], other![1]), Math.max(one![1], other![1])];
  if (tool === "RectangleROI") return [[left, top], [right, top], [left, bottom], [right, bottom]];
  const [x, y] = [(left + right) / 2, (top + bottom) / 2];
  return [[x, bottom], [x, top], [left, y], [right, y]];
}

const within = (value: number, most: number) => Math.min(Math.max(value, 0), most - 1);
