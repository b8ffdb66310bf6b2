/** One view: an image, who it is of, which side is which, and what is done to it. */

import { Enums, eventTarget, utilities } from "@cornerstonejs/core";
import type { RenderingEngine, Types } from "@cornerstonejs/core";
import { Enums as ToolEnums, utilities as toolUtilities } from "@cornerstonejs/tools";

import { TAG, date, number, numbers, text, texts } from "./attributes";
import { Cursor } from "./cursor";
import { element, lines } from "./dom";
import { prefetch, withTools, withoutTools } from "./engine";
import type { Opened } from "./opening";
import { Overlay } from "./overlay";
import { edges, toldEdges } from "./orientation";
import type { Edges } from "./orientation";
import type { Colors } from "./palette";
import type { Appearance, Place, PresentationState } from "./presentation";
import { patientOf } from "./series";
import type { Picture, Vector } from "./series";
import { WORDS } from "./words";

const CINE_FRAMES_PER_SECOND = 15;
/** How often it is told how many images are here: each time the whole view is drawn anew. */
const STATUS_MILLISECONDS = 250;

/** What a pane tells those who look after all of them. */
export interface Watcher {
  focused(pane: Pane): void;
  scrolled(pane: Pane): void;
  changed(pane: Pane): void;
}

export class Pane {
  readonly host: HTMLElement;
  readonly id: string;
  readonly cursor: Cursor;
  opened: Opened | undefined;
  isPlaying = false;
  /** The presentation state by which images are shown. */
  state: PresentationState | undefined;
  private readonly canvas = element("div", { class: "canvas" });
  private readonly corners = {
    patient: element("p", { class: "corner patient" }),
    image: element("p", { class: "corner image" }),
    window: element("p", { class: "corner window" }),
    value: element("p", { class: "corner value" }),
  };
  private readonly sides = {
    top: element("span", { class: "side top" }),
    right: element("span", { class: "side right" }),
    bottom: element("span", { class: "side bottom" }),
    left: element("span", { class: "side left" }),
  };
  private readonly overlay = new Overlay();
  private readonly status = element("p", { class: "status", role: "status" });
  private readonly here = new Set<string>();
  private failed = 0;
  private telling: number | undefined;
  private isSettling = false;
  private stopPrefetch = () => {};
  private showing: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly engine: RenderingEngine,
    readonly position: number,
    private readonly watcher: Watcher,
  ) {
    this.id = `pane-${position}`;
    this.host = element(
      "section",
      { class: "pane", tabindex: "0", "aria-label": WORDS.pane(position), "aria-describedby": "pane-help" },
      this.canvas,
      this.overlay.host,
      ...Object.values(this.corners),
      ...Object.values(this.sides),
      this.status,
    );
    this.cursor = new Cursor(this);
    this.host.append(this.cursor.mark);
    this.host.addEventListener("focusin", () => watcher.focused(this));
    this.host.addEventListener("pointerdown", () => this.host.focus({ preventScroll: true }));
    this.host.addEventListener("contextmenu", (event) => event.preventDefault());
    this.host.addEventListener("pointermove", (event) => this.tellValue(this.within(event)));
  }

  /** Begin to show, once the host stands in the document. */
  enable(): void {
    this.engine.enableElement({
      viewportId: this.id,
      element: this.canvas,
      type: Enums.ViewportType.STACK,
      defaultOptions: { background: [0, 0, 0] },
    });
    withTools(this.id, this.engine);
    this.canvas.addEventListener(Enums.Events.STACK_NEW_IMAGE, () => this.tell(true));
    this.canvas.addEventListener(Enums.Events.CAMERA_MODIFIED, () => this.tell(false));
    this.canvas.addEventListener(Enums.Events.VOI_MODIFIED, () => this.tell(false));
    this.canvas.addEventListener(ToolEnums.Events.ANNOTATION_RENDERED, () => this.watcher.changed(this));
  }

  /** End it. */
  disable(): void {
    this.pause();
    this.stopPrefetch();
    withoutTools(this.id, this.engine);
    this.engine.disableElement(this.id);
    this.host.remove();
  }

  get viewport(): Types.IStackViewport {
    return this.engine.getViewport(this.id) as Types.IStackViewport;
  }

  get pictures(): Picture[] {
    return this.opened?.pictures ?? [];
  }

  /** The picture that is shown. */
  get picture(): Picture | undefined {
    return this.opened && this.pictures[this.index];
  }

  /** Its place in the series, from 0. */
  get index(): number {
    return this.opened ? Math.max(0, this.viewport.getTargetImageIdIndex()) : 0;
  }

  /** Show what has come of a series; the image that is looked at stays. */
  async show(opened: Opened): Promise<void> {
    const kept = this.opened?.series.uid === opened.series.uid ? this.picture?.imageId : undefined;
    if (this.opened?.series !== opened.series) this.opened?.arrival?.stop();
    if (!kept) {
      this.state = undefined;
      this.here.clear();
      this.failed = 0;
    }
    const index = Math.max(0, opened.pictures.findIndex((one) => one.imageId === kept));
    this.opened = opened;
    this.showing = this.showing.then(() => this.stack(opened, index, !kept));
    await this.showing;
  }

  private async stack(opened: Opened, index: number, fresh: boolean): Promise<void> {
    this.stopPrefetch();
    this.isSettling = true;
    const before = fresh ? undefined : { ...this.viewport.getProperties(), camera: this.viewport.getCamera() };
    try {
      await this.viewport.setStack(opened.pictures.map((one) => one.imageId), index);
    } catch {
      this.failed += 1;
    }
    if (before) {
      this.viewport.setProperties({ voiRange: before.voiRange, invert: before.invert });
      this.viewport.setCamera(before.camera);
    }
    this.viewport.render();
    this.isSettling = false;
    this.appear();
    this.tell(false);
    if (opened.complete) this.stopPrefetch = prefetch(this.outward(index), opened.arrival, (...told) => this.arrived(...told));
  }

  /** All images, those next to the shown one first. */
  private outward(index: number): string[] {
    const away = (k: number) => Math.abs(k - index);
    return this.pictures
      .map((one, k) => ({ id: one.imageId, k }))
      .sort((one, other) => away(one.k) - away(other.k))
      .map((one) => one.id);
  }

  private arrived(imageId: string, failed: boolean): void {
    if (failed) this.failed += 1;
    else this.here.add(imageId);
    if (this.here.size + this.failed >= this.pictures.length) this.tellStatus();
    else this.telling ??= window.setTimeout(() => this.tellStatus(), STATUS_MILLISECONDS);
  }

  // -- what people do

  scroll(by: number): void {
    this.goTo(this.index + by);
  }

  goTo(index: number): void {
    const within = Math.min(Math.max(index, 0), this.pictures.length - 1);
    if (this.opened && within !== this.index) void this.viewport.setImageIdIndex(within).catch(() => this.tellStatus());
  }

  zoom(by: number): void {
    this.viewport.setZoom(this.viewport.getZoom() * by);
    this.viewport.render();
  }

  move(x: number, y: number): void {
    const [panX, panY] = this.viewport.getPan();
    this.viewport.setPan([panX + x, panY + y]);
    this.viewport.render();
  }

  rotate(): void {
    const { rotation = 0 } = this.viewport.getViewPresentation();
    this.viewport.setViewPresentation({ rotation: (rotation + 90) % 360 });
    this.viewport.render();
  }

  invert(): void {
    this.viewport.setProperties({ invert: !this.viewport.getProperties().invert });
    this.viewport.render();
  }

  window(center: number, width: number): void {
    this.viewport.setProperties({ voiRange: utilities.windowLevel.toLowHighRange(width, center) });
    this.viewport.render();
  }

  /** Show images as `state` wants them to be seen, where it is about them; undefined shows them as they are. */
  present(state: PresentationState | undefined): void {
    if (this.state && !state) this.reset();
    this.state = state;
    this.appear();
    this.tell(false);
  }

  private get appearance(): Appearance | undefined {
    const shown = this.picture;
    return shown && this.state?.of(text(shown.attributes, TAG.SOPInstanceUID), shown.frame);
  }

  private appear(): void {
    const wanted = this.appearance;
    if (!wanted) return;
    const voiRange = wanted.window && utilities.windowLevel.toLowHighRange(wanted.window.width, wanted.window.center);
    const colormap = wanted.colors && colormapOf(wanted.colors);
    this.viewport.setProperties({ ...(voiRange && { voiRange }), invert: wanted.isInverted, ...(colormap && { colormap }) });
    this.viewport.setViewPresentation({ rotation: wanted.rotation, flipHorizontal: wanted.isFlipped });
    if (wanted.area) this.zoomTo(wanted.area);
    this.viewport.render();
  }

  /** Show as much of an image as lies between two of its corners. */
  private zoomTo([[left, top], [right, bottom]]: [Place, Place]): void {
    const [width, height] = this.size;
    const corners = [this.placed([left, top]), this.placed([right, bottom])];
    const [wide, high] = [0, 1].map((k) => Math.abs(corners[0]![k]! - corners[1]![k]!)) as [number, number];
    this.viewport.setZoom(this.viewport.getZoom() * Math.min(width / wide, height / high));
    const [x, y] = this.placed([(left + right) / 2, (top + bottom) / 2]);
    this.move(width / 2 - x, height / 2 - y);
  }

  /** Where a place of the image, from its top left corner, lies in this pane. */
  private placed([column, row]: Place): Place {
    const { imageData } = this.viewport.getImageData()!;
    return this.viewport.worldToCanvas(utilities.transformIndexToWorld(imageData, [column - 0.5, row - 0.5, 0]));
  }

  reset(): void {
    this.viewport.resetProperties();
    this.viewport.resetCamera();
    this.viewport.setViewPresentation({ rotation: 0, flipHorizontal: false });
    this.viewport.render();
  }

  togglePlaying(): void {
    if (this.isPlaying) this.pause();
    else if (this.pictures.length > 1) {
      this.isPlaying = true;
      toolUtilities.cine.playClip(this.canvas, { framesPerSecond: this.framesPerSecond, loop: true });
    }
    this.watcher.changed(this);
  }

  private pause(): void {
    if (this.isPlaying) toolUtilities.cine.stopClip(this.canvas);
    this.isPlaying = false;
  }

  private get framesPerSecond(): number {
    const of = this.picture?.attributes ?? {};
    const time = number(of, TAG.FrameTime);
    return number(of, TAG.CineRate) ?? (time ? 1000 / time : CINE_FRAMES_PER_SECOND);
  }

  // -- what it tells

  /** The point of a pointer in this pane, in its pixels. */
  within(event: PointerEvent): Types.Point2 {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  get size(): Types.Point2 {
    return [this.canvas.clientWidth, this.canvas.clientHeight];
  }

  /** Say what stands at a point: its column and row, from 0, and its value. */
  tellValue(point: Types.Point2): void {
    this.corners.value.textContent = this.valueAt(point);
  }

  private valueAt(point: Types.Point2): string {
    const image = this.opened && this.viewport.getCornerstoneImage();
    const data = image && this.viewport.getImageData();
    if (!image || !data?.imageData) return "";
    const [x, y] = utilities
      .transformWorldToIndex(data.imageData, this.viewport.canvasToWorld(point))
      .map(Math.round) as [number, number, number];
    if (x < 0 || y < 0 || x >= image.columns || y >= image.rows) return "";
    const stored = image.voxelManager?.getAtIJK(x, y, 0);
    if (stored === undefined || stored === null) return "";
    const scaled = image.color || image.preScale?.scaled;
    const value = scaled ? stored : Number(stored) * image.slope + image.intercept;
    const told = typeof value === "number" ? Number(value.toFixed(3)) : [...(value as ArrayLike<number> as number[])].slice(0, 3).join(" / ");
    return `${x}, ${y}: ${told}${image.color ? "" : ` ${this.unit}`}`.trim();
  }

  private get unit(): string {
    return this.opened?.series.modality === "CT" ? "HU" : "";
  }

  private tell(another: boolean): void {
    const picture = this.picture;
    if (!picture) return;
    if (another && !this.isSettling) this.appear();
    this.tellPresentation(picture);
    this.tellPatient(picture);
    this.tellImage(picture);
    this.tellWindow();
    this.tellSides(this.edgesOf(picture));
    this.tellStatus();
    this.cursor.place();
    if (another && !this.isSettling) this.watcher.scrolled(this);
    this.watcher.changed(this);
  }

  private tellPatient({ attributes }: Picture): void {
    const { name, id } = patientOf(attributes);
    const born = date(attributes, TAG.PatientBirthDate);
    lines(this.corners.patient, [name || "–", [id, born && `* ${born}`].filter(Boolean).join("  "), date(attributes, TAG.StudyDate)]);
  }

  private tellImage({ attributes }: Picture): void {
    const { series } = this.opened!;
    const side = text(attributes, TAG.ImageLaterality) || text(attributes, TAG.Laterality);
    const lossy = text(attributes, TAG.LossyImageCompression) === "01";
    lines(this.corners.image, [
      [series.modality, series.description].filter(Boolean).join(" "),
      WORDS.image(this.index + 1, Math.max(this.pictures.length, this.opened!.complete ? 0 : series.instances)),
      side && { L: "Left", R: "Right", B: "Both sides" }[side],
      lossy && WORDS.lossy,
      this.appearance && `${WORDS.presentation}: ${this.appearance.label}`,
      ...(this.appearance?.omitted ?? []).map(WORDS.without),
    ]);
    this.host.setAttribute("aria-label", `${WORDS.pane(this.position)}: ${this.corners.patient.innerText}, ${this.corners.image.innerText}`);
  }

  private tellPresentation({ attributes }: Picture): void {
    if (!this.state || !this.viewport.getImageData()) return this.overlay.draw(undefined, [[0, 0], [0, 0]], (one) => one);
    const whole: [Place, Place] = [[0, 0], [number(attributes, TAG.Columns) ?? 0, number(attributes, TAG.Rows) ?? 0]];
    this.overlay.draw(this.appearance, whole, (one) => this.placed(one));
  }

  private tellWindow(): void {
    const range = this.viewport.getProperties().voiRange;
    const window = range && utilities.windowLevel.toWindowLevel(range.lower, range.upper);
    lines(this.corners.window, [window && `C ${Math.round(window.windowCenter)}  W ${Math.round(window.windowWidth)}`]);
  }

  private edgesOf({ attributes }: Picture): Edges {
    const { viewUp, viewPlaneNormal, flipHorizontal, flipVertical } = this.viewport.getCamera();
    if (numbers(attributes, TAG.ImageOrientationPatient).length === 6 && viewUp && viewPlaneNormal) {
      const told = edges(viewUp as Vector, viewPlaneNormal as Vector);
      return {
        left: flipHorizontal ? told.right : told.left,
        right: flipHorizontal ? told.left : told.right,
        top: flipVertical ? told.bottom : told.top,
        bottom: flipVertical ? told.top : told.bottom,
      };
    }
    const [row = "", column = ""] = texts(attributes, TAG.PatientOrientation);
    return toldEdges(row, column, Math.round((this.viewport.getViewPresentation().rotation ?? 0) / 90));
  }

  private tellSides(told: Edges): void {
    for (const edge of ["top", "right", "bottom", "left"] as const) this.sides[edge].textContent = told[edge];
  }

  private tellStatus(): void {
    window.clearTimeout(this.telling);
    this.telling = undefined;
    if (!this.opened) return;
    const { strangers, complete } = this.opened;
    lines(this.status, [
      strangers > 0 && WORDS.otherPatient,
      complete && this.failed > 0 && WORDS.missing(this.failed),
      complete && this.failed === 0 && this.here.size < this.pictures.length && WORDS.frames(this.here.size, this.pictures.length),
    ]);
    this.host.dataset.received = String(this.here.size);
  }
}

/** Colours as the viewport takes them, by their name. */
function colormapOf({ name, points }: Colors): { name: string } {
  if (!utilities.colormap.getColormap(name))
    utilities.colormap.registerColormap({ ColorSpace: "RGB", Name: name, name, RGBPoints: points });
  return { name };
}

/** Call `act` when an annotation was made, changed or removed anywhere. */
export function onMeasured(act: () => void, names: string[]): void {
  names.forEach((name) => eventTarget.addEventListener(name, act));
}
