/** What keys do in a pane. */

import { CT_PRESETS } from "./presets";
import type { PointerTool } from "./engine";
import type { Pane } from "./pane";

const PAN = 20;
const ZOOM = 1.2;
const ARROWS: Record<string, [number, number]> = {
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
};

/** Do what a key says; false when it says nothing here. */
export function act(event: KeyboardEvent, pane: Pane, tool: PointerTool): boolean {
  if (event.ctrlKey || event.metaKey || event.altKey || !pane.opened) return false;
  const arrow = ARROWS[event.key];
  if (arrow && event.shiftKey) pane.move(-arrow[0] * PAN, -arrow[1] * PAN);
  else if (arrow && pane.cursor.isOn) pane.cursor.move(...arrow);
  else if (arrow) pane.scroll(arrow[0] + arrow[1]);
  else return named(event.key, pane, tool);
  return true;
}

function named(key: string, pane: Pane, tool: PointerTool): boolean {
  const acts: Record<string, () => void> = {
    PageUp: () => pane.scroll(-10),
    PageDown: () => pane.scroll(10),
    Home: () => pane.goTo(0),
    End: () => pane.goTo(pane.pictures.length - 1),
    "+": () => pane.zoom(ZOOM),
    "=": () => pane.zoom(ZOOM),
    "-": () => pane.zoom(1 / ZOOM),
    r: () => pane.rotate(),
    i: () => pane.invert(),
    c: () => pane.cursor.toggle(),
    " ": () => pane.togglePlaying(),
    Enter: () => pane.cursor.isOn && pane.cursor.set(tool),
    "0": () => pane.reset(),
  };
  CT_PRESETS.forEach((preset, k) => {
    if (pane.opened?.series.modality === "CT") acts[String(k + 1)] = () => pane.window(preset.center, preset.width);
  });
  const chosen = acts[key.length === 1 ? key.toLowerCase() : key];
  chosen?.();
  return chosen !== undefined;
}
