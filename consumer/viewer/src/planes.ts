/** Three planes cut through a volume (MPR), with lines that show where each of them lies in the others. */

import { Enums, setVolumesForViewports, volumeLoader } from "@cornerstonejs/core";
import type { RenderingEngine, Types } from "@cornerstonejs/core";
import { CrosshairsTool, Enums as ToolEnums, StackScrollTool, ToolGroupManager, WindowLevelTool, ZoomTool, addTool } from "@cornerstonejs/tools";

import { element } from "./dom";
import { edges } from "./orientation";
import { patientOf } from "./series";
import type { Vector } from "./series";
import type { Opened } from "./opening";

const PLANES = {
  axial: Enums.OrientationAxis.AXIAL,
  coronal: Enums.OrientationAxis.CORONAL,
  sagittal: Enums.OrientationAxis.SAGITTAL,
};
const NAMES = { axial: "Axial", coronal: "Coronal", sagittal: "Sagittal" };
type Plane = keyof typeof PLANES;
const ALL = Object.keys(PLANES) as Plane[];
const GROUP = "planes";
const LINES: Record<Plane, string> = { axial: "#e0a100", coronal: "#2fa3d8", sagittal: "#c95fd0" };

export class Planes {
  readonly hosts = new Map<Plane, HTMLElement>();
  private readonly canvases = new Map<Plane, HTMLDivElement>();

  constructor(private readonly engine: RenderingEngine) {
    ALL.forEach((plane) => {
      const canvas = element("div", { class: "canvas" });
      this.canvases.set(plane, canvas);
      this.hosts.set(
        plane,
        element(
          "section",
          { class: "pane", tabindex: "0", "aria-label": NAMES[plane] },
          canvas,
          element("p", { class: "corner patient" }),
          element("p", { class: "corner image" }, NAMES[plane]),
          ...["top", "right", "bottom", "left"].map((edge) => element("span", { class: `side ${edge}` })),
        ),
      );
    });
  }

  /** Cut a series that is a volume. */
  async show(opened: Opened): Promise<void> {
    this.engine.setViewports(
      ALL.map((plane) => ({
        viewportId: plane,
        element: this.canvases.get(plane)!,
        type: Enums.ViewportType.ORTHOGRAPHIC,
        defaultOptions: { orientation: PLANES[plane], background: [0, 0, 0] as Types.Point3 },
      })),
    );
    ALL.forEach((plane) => this.canvases.get(plane)!.addEventListener(Enums.Events.CAMERA_MODIFIED, () => this.tellSides(plane)));
    this.hosts.forEach((host, plane) => host.addEventListener("keydown", (event) => this.act(event, plane)));
    const volumeId = `cornerstoneStreamingImageVolume:${opened.series.uid}`;
    const volume = await volumeLoader.createAndCacheVolume(volumeId, { imageIds: opened.pictures.map((one) => one.imageId) });
    (volume as unknown as { load(): void }).load();
    await setVolumesForViewports(this.engine, [{ volumeId }], ALL);
    this.useTools();
    const { name, id } = patientOf(opened.pictures[0]!.attributes);
    this.hosts.forEach((host) => host.querySelector(".patient")!.replaceChildren(name, element("br"), id));
    ALL.forEach((plane) => this.tellSides(plane));
    this.engine.renderViewports(ALL);
  }

  private useTools(): void {
    addTool(CrosshairsTool);
    const group = ToolGroupManager.createToolGroup(GROUP)!;
    ALL.forEach((plane) => group.addViewport(plane, this.engine.id));
    group.addTool(CrosshairsTool.toolName, { getReferenceLineColor: (id: string) => LINES[id as Plane] });
    [WindowLevelTool, ZoomTool, StackScrollTool].forEach((one) => group.addTool(one.toolName));
    const { Primary, Secondary, Auxiliary, Wheel } = ToolEnums.MouseBindings;
    group.setToolActive(CrosshairsTool.toolName, { bindings: [{ mouseButton: Primary }] });
    group.setToolActive(ZoomTool.toolName, { bindings: [{ mouseButton: Secondary }] });
    group.setToolActive(WindowLevelTool.toolName, { bindings: [{ mouseButton: Auxiliary }] });
    group.setToolActive(StackScrollTool.toolName, { bindings: [{ mouseButton: Wheel }] });
  }

  private act(event: KeyboardEvent, plane: Plane): void {
    const by = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1, PageUp: -10, PageDown: 10 }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    (this.engine.getViewport(plane) as Types.IVolumeViewport).scroll(by);
  }

  private tellSides(plane: Plane): void {
    const viewport = this.engine.getViewport(plane);
    if (!viewport) return;
    const { viewUp, viewPlaneNormal } = viewport.getCamera();
    const told = edges(viewUp as Vector, viewPlaneNormal as Vector);
    for (const edge of ["top", "right", "bottom", "left"] as const) {
      this.hosts.get(plane)!.querySelector(`.side.${edge}`)!.textContent = told[edge];
    }
  }

  /** Put them away. */
  disable(): void {
    ToolGroupManager.destroyToolGroup(GROUP);
    ALL.forEach((plane) => this.engine.getViewport(plane) && this.engine.disableElement(plane));
    this.hosts.forEach((host) => host.remove());
  }
}
