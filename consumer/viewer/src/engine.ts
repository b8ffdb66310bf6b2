/** Cornerstone3D as it is used here: its loader with our token, one rendering engine, one group of tools. */

import {
  Enums,
  RenderingEngine,
  cache,
  imageLoadPoolManager,
  imageLoader,
  init as initCore,
} from "@cornerstonejs/core";
import * as loader from "@cornerstonejs/dicom-image-loader";
import * as tools from "@cornerstonejs/tools";

import { isDecodedWrongly } from "./arrival";
import type { Arrival } from "./arrival";
import type { Attributes } from "./attributes";
import type { Dicomweb } from "./dicomweb";
import { useArrivedFrames } from "./frames";

const CACHE_OCTETS = 768 * 1024 * 1024;
const AT_ONCE = 6;
const GROUP = "panes";

export const POINTER_TOOLS = ["WindowLevel", "Pan", "Zoom", "Length", "Angle", "RectangleROI", "EllipticalROI"] as const;
export type PointerTool = (typeof POINTER_TOOLS)[number];

const CLASSES = [
  tools.WindowLevelTool,
  tools.PanTool,
  tools.ZoomTool,
  tools.LengthTool,
  tools.AngleTool,
  tools.RectangleROITool,
  tools.EllipticalROITool,
  tools.StackScrollTool,
  tools.PlanarRotateTool,
];

/** Start everything that the panes share; each request goes with the token of its study. */
export async function start(studies: Dicomweb[]): Promise<RenderingEngine> {
  await initCore();
  cache.setMaxCacheSize(CACHE_OCTETS);
  loader.init({
    maxWebWorkers: Math.max(1, Math.min(4, (navigator.hardwareConcurrency || 2) - 1)),
    beforeSend: (_, imageId) => ({
      ...studies.find((one) => one.has(imageId))?.authorization,
      ...(decodedThere.has(addressOf(imageId)) && { Accept: WITHOUT_COMPRESSION }),
    }),
  });
  useArrivedFrames();
  imageLoadPoolManager.setMaxSimultaneousRequests(Enums.RequestType.Prefetch, AT_ONCE);
  imageLoadPoolManager.setMaxSimultaneousRequests(Enums.RequestType.Interaction, AT_ONCE);
  await tools.init();
  CLASSES.forEach((one) => tools.addTool(one));
  const group = tools.ToolGroupManager.createToolGroup(GROUP)!;
  CLASSES.forEach((one) => group.addTool(one.toolName));
  return new RenderingEngine("xdsi");
}

/** Give a viewport to the tools. */
export function withTools(viewportId: string, engine: RenderingEngine): void {
  group().addViewport(viewportId, engine.id);
}

/** Take a viewport from the tools. */
export function withoutTools(viewportId: string, engine: RenderingEngine): void {
  group().removeViewports(engine.id, viewportId);
}

/** Bind the first button of the pointer to a tool; the others keep theirs. */
export function choose(tool: PointerTool): void {
  const { Primary, Auxiliary, Secondary, Wheel } = tools.Enums.MouseBindings;
  const chosen = group();
  POINTER_TOOLS.forEach((one) => chosen.setToolPassive(one, { removeAllBindings: true }));
  const bindings = new Map<string, number[]>([
    ["Pan", [Auxiliary]],
    ["Zoom", [Secondary]],
  ]);
  bindings.set(tool, [Primary, ...(bindings.get(tool) ?? [])]);
  bindings.forEach((buttons, name) =>
    chosen.setToolActive(name, { bindings: buttons.map((mouseButton) => ({ mouseButton })) }),
  );
  chosen.setToolActive(tools.StackScrollTool.toolName, { bindings: [{ mouseButton: Wheel }] });
}

function group() {
  return tools.ToolGroupManager.getToolGroup(GROUP)!;
}

/** Addresses of frames that this browser does not ask for as they are stored. */
const decodedThere = new Set<string>();
const WITHOUT_COMPRESSION = 'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.1';

const addressOf = (imageId: string) => imageId.replace(/^wadors:/, "");

/** Tell the loader what an instance says of its pixels. */
export function know(imageId: string, attributes: Attributes): void {
  if (isDecodedWrongly(attributes)) decodedThere.add(addressOf(imageId));
  loader.wadors.metaDataManager.add(imageId, attributes as never);
}

/** Load images in a given order beside what people ask for, those first that arrive; `received` is called for each. */
export function prefetch(
  imageIds: string[],
  arrival: Arrival | undefined,
  received: (imageId: string, failed: boolean) => void,
): () => void {
  let stopped = false;
  const awaited = new Set(imageIds);
  const came = (imageId: string) => {
    if (awaited.delete(imageId)) received(imageId, false);
  };
  imageIds.filter((one) => arrival?.has(one)).forEach(came);
  const watchNoMore = arrival?.watch(came);
  void Promise.resolve(arrival?.ended).then(() => {
    if (!stopped) awaited.forEach((one) => loadAlone(one, () => stopped, received));
  });
  return () => {
    stopped = true;
    watchNoMore?.();
    imageLoadPoolManager.filterRequests((one) => !imageIds.includes(one.additionalDetails.imageId ?? ""));
  };
}

/** Ask for one image, unless it is wanted no more when its turn comes. */
function loadAlone(imageId: string, isStopped: () => boolean, received: (imageId: string, failed: boolean) => void): void {
  const load = async () => {
    if (isStopped()) return;
    await imageLoader
      .loadAndCacheImage(imageId, { priority: 0, requestType: Enums.RequestType.Prefetch })
      .then(() => received(imageId, false))
      .catch(() => received(imageId, true));
  };
  imageLoadPoolManager.addRequest(load, Enums.RequestType.Prefetch, { imageId }, 0);
}
