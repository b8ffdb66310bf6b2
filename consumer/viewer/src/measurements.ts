/** The list of measurements: what was drawn, in words, each to be removed. */

import { Enums, annotation } from "@cornerstonejs/tools";

import { button, element } from "./dom";
import { POINTER_TOOLS } from "./engine";
import { onMeasured } from "./pane";
import { WORDS } from "./words";

const { Events } = Enums;

type Stats = Record<string, number | string | undefined>;

export class Measurements {
  readonly host = element("section", { class: "measurements" }, element("h2", {}, WORDS.measurements));
  private readonly list = element("ul", { "aria-live": "polite" });
  private told = "";

  constructor(private readonly redraw: () => void) {
    this.host.append(this.list);
    onMeasured(() => this.tell(), [
      Events.ANNOTATION_ADDED,
      Events.ANNOTATION_COMPLETED,
      Events.ANNOTATION_MODIFIED,
      Events.ANNOTATION_REMOVED,
    ].map(String));
    this.tell();
  }

  /** Say what there is; how long or wide something is, is known only once it is drawn. */
  tell(): void {
    const all = annotation.state
      .getAllAnnotations()
      .filter((one) => POINTER_TOOLS.includes(one.metadata?.toolName as never))
      .map((one) => ({ uid: one.annotationUID!, words: worded(one) }));
    const told = JSON.stringify(all);
    if (told === this.told) return;
    this.told = told;
    this.list.replaceChildren(
      ...all.map(({ uid, words }) => {
        const remove = button(WORDS.remove, () => this.remove(uid), { class: "plain", "aria-label": `${WORDS.remove}: ${words}` });
        return element("li", {}, element("span", {}, words), remove);
      }),
    );
    if (!all.length) this.list.append(element("li", { class: "quiet" }, WORDS.noMeasurements));
  }

  private remove(uid: string): void {
    annotation.state.removeAnnotation(uid);
    this.tell();
    this.redraw();
  }
}

type Annotation = ReturnType<typeof annotation.state.getAllAnnotations>[number];

function worded(one: Annotation): string {
  const name = WORDS.tools[one.metadata!.toolName as keyof typeof WORDS.tools];
  const stats = Object.values((one.data.cachedStats ?? {}) as Record<string, Stats>)[0] ?? {};
  return `${name} ${figures(stats)}`.trim();
}

function figures(of: Stats): string {
  const number = (value: unknown) => (typeof value === "number" ? value.toFixed(1) : "");
  if (of.length !== undefined) return `${number(of.length)} ${of.unit ?? "mm"}`;
  if (of.angle !== undefined) return `${number(of.angle)}°`;
  if (of.mean !== undefined) {
    const unit = of.modalityUnit ?? "";
    return `${number(of.area)} ${of.areaUnit ?? ""}, mean ${number(of.mean)} ${unit}, ± ${number(of.stdDev)}`;
  }
  return "";
}
