/** The whole: series at the side, tools above, one or two views or three planes, and who watches over all. */

import type { RenderingEngine } from "@cornerstonejs/core";

import { TAG, items, text } from "./attributes";
import type { Dicomweb } from "./dicomweb";
import { shown } from "./documents";
import { button, element, press } from "./dom";
import { POINTER_TOOLS, choose, start } from "./engine";
import type { PointerTool } from "./engine";
import { act } from "./keys";
import { together } from "./linked";
import { Measurements } from "./measurements";
import { openings } from "./opening";
import type { Opened } from "./opening";
import { Pane } from "./pane";
import { colorsOf } from "./palette";
import { Planes } from "./planes";
import { presentationState } from "./presentation";
import type { PresentationState } from "./presentation";
import { CT_PRESETS } from "./presets";
import { SeriesList } from "./series-list";
import { isSamePatient, isVolume, kindOf } from "./series";
import type { Kind, Series } from "./series";
import { WORDS } from "./words";

type Layout = "oneSeries" | "twoSeries" | "planes";

export class Viewer {
  private engine!: RenderingEngine;
  private panes: Pane[] = [];
  private planes: Planes | undefined;
  private volume: Opened | undefined;
  private active: Pane | undefined;
  private tool: PointerTool = "WindowLevel";
  private isLinked = true;
  private readonly list: SeriesList;
  private readonly stage = element("div", { class: "stage" });
  private readonly measurements = new Measurements(() => this.panes.forEach((one) => one.viewport.render()));
  private readonly warning = element("p", { class: "warning", role: "alert", hidden: true });
  private states: PresentationState[] = [];
  private readonly presented = element("select", { "aria-label": WORDS.presentation, hidden: true });
  private readonly play = button(WORDS.play, () => this.active?.togglePlaying());
  private readonly toolButtons = new Map<PointerTool, HTMLButtonElement>();
  private readonly layoutButtons = new Map<Layout, HTMLButtonElement>();

  constructor(
    private readonly host: HTMLElement,
    private readonly studies: Dicomweb[],
    private readonly series: Series[],
  ) {
    this.list = new SeriesList(series, (one) => void this.open(one));
  }

  /** Start, and show the first series that has images, once the kinds of all are `known`. */
  async begin(known: Promise<void>): Promise<void> {
    this.engine = await start(this.studies);
    this.host.replaceChildren(
      this.toolbar(),
      element("div", { class: "work" }, element("div", { class: "aside" }, this.list.host, this.measurements.host), element("div", { class: "views" }, this.warning, this.stage)),
      element("p", { id: "pane-help", class: "help" }, WORDS.paneHelp),
    );
    this.use("WindowLevel");
    this.lay(1);
    press(this.layoutButtons.values(), this.layoutButtons.get("oneSeries"));
    new ResizeObserver(() => this.engine.resize(true, true)).observe(this.stage);
    await known;
    await this.beginWith();
    await this.learnStates();
    void this.list.illustrate(this.series);
  }

  /** Show the first series that has images; of two studies each, side by side. */
  private async beginWith(): Promise<void> {
    const images = this.series.filter((one) => kindOf(one.sopClass) === "images");
    const firsts = this.studies.map((of) => images.find((one) => one.dicomweb === of)).filter((one) => one !== undefined);
    if (firsts.length < 2) return this.open(firsts[0] ?? this.series[0]!);
    this.lay(2);
    press(this.layoutButtons.values(), this.layoutButtons.get("twoSeries"));
    for (const [k, one] of firsts.slice(0, 2).entries()) {
      this.focus(this.panes[k]!);
      await this.open(one);
    }
    this.focus(this.panes[0]!);
  }

  /** How others wanted images of the study to be seen; what cannot be read is none. */
  private async learnStates(): Promise<void> {
    const series = this.series.filter((one) => kindOf(one.sopClass) === "presentation");
    const known = await Promise.all(series.map((one) => statesOf(one).catch(() => [])));
    this.states = known.flat();
    this.offerStates();
  }

  /** Offer the presentation states of what is shown. */
  private offerStates(): void {
    const shown = new Set(this.active?.pictures.map((one) => text(one.attributes, TAG.SOPInstanceUID)));
    const offered = this.states.filter((one) => [...one.images].some((image) => shown.has(image)));
    this.presented.hidden = !offered.length;
    this.presented.replaceChildren(
      element("option", { value: "" }, WORDS.asStored),
      ...offered.map((one) =>
        element("option", { value: one.uid, disabled: one.isRefused }, one.isRefused ? WORDS.notShown(one.label) : `${WORDS.presentation}: ${one.label}`),
      ),
    );
    this.presented.value = this.active?.state?.uid ?? "";
  }

  // -- what is shown

  private async open(series: Series): Promise<void> {
    const kind = kindOf(series.sopClass);
    try {
      if (kind === "images") await this.openImages(series);
      else await this.openOther(series, kind);
    } catch (error) {
      this.tellError(error);
    }
  }

  private async openImages(series: Series): Promise<void> {
    if (!this.panes.length) this.layout("oneSeries");
    const pane = this.active ?? this.panes[0]!;
    this.stage.querySelectorAll(".message, .document").forEach((one) => one.remove());
    pane.host.dataset.wanted = series.uid;
    const { first } = series;
    if (!first) throw new Error(WORDS.noImages);
    for await (const opened of openings(series, text(first, TAG.SOPInstanceUID))) {
      if (pane.host.dataset.wanted !== series.uid) return opened.arrival?.stop();
      if (!opened.pictures.length && opened.complete) throw new Error(WORDS.noImages);
      if (opened.pictures.length) await pane.show(opened);
    }
    this.list.mark(series.uid);
    this.offerStates();
  }

  private async openOther(series: Series, kind: Kind): Promise<void> {
    const [first, ...others] = await instancesOf(series);
    if (!first) throw new Error(WORDS.notAnImage(series.description || series.modality));
    if (kind === "keys") return this.openKeyImages(series, first);
    if (kind === "presentation") return this.openPresented(series);
    const made = await this.document(series, first, kind);
    this.clear();
    this.stage.replaceChildren(others.length ? this.documents(series, [first, ...others], kind, made) : made);
    this.list.mark(series.uid);
    this.offerStates();
  }

  private document(series: Series, instance: string, kind: Kind): Promise<HTMLElement> {
    return shown(series, instance, kind, (image) => void this.openImage(series.dicomweb, image).catch((error: unknown) => this.tellError(error)));
  }

  /** Several documents of one series, one of which is shown. */
  private documents(series: Series, instances: string[], kind: Kind, made: HTMLElement): HTMLElement {
    const chooser = element("select", { "aria-label": WORDS.documentLabel });
    chooser.append(...instances.map((one, k) => element("option", { value: one }, WORDS.documentOf(k + 1, instances.length))));
    const host = element("div", { class: "documents" }, element("label", {}, chooser), made);
    chooser.addEventListener("change", () => {
      this.document(series, chooser.value, kind).then((other) => host.lastElementChild!.replaceWith(other), (error: unknown) => this.tellError(error));
    });
    return host;
  }

  /** Show the images that the first presentation state of a series is about, as it wants them to be seen. */
  private async openPresented(series: Series): Promise<void> {
    const known = await instancesOf(series);
    const state = this.states.find((one) => known.includes(one.uid));
    if (!state) throw new Error(WORDS.broken);
    if (state.isRefused) throw new Error(WORDS.stateNotShown(state.label));
    const target = await this.seriesWith(series.dicomweb, state.images);
    if (!target) throw new Error(WORDS.noPresented);
    await this.openImages(target);
    const pane = this.active ?? this.panes[0]!;
    pane.goTo(pane.pictures.findIndex((one) => state.images.has(text(one.attributes, TAG.SOPInstanceUID))));
    pane.present(state);
    this.offerStates();
  }

  /** The first series of images that has one of these. */
  private async seriesWith(dicomweb: Dicomweb, images: Set<string>): Promise<Series | undefined> {
    for (const one of this.series.filter((one) => one.dicomweb === dicomweb && kindOf(one.sopClass) === "images"))
      if ((await instancesOf(one)).some((of) => images.has(of))) return one;
    return undefined;
  }

  /** Show an image that something else refers to. */
  private async openImage(dicomweb: Dicomweb, image: string): Promise<void> {
    const target = await this.seriesWith(dicomweb, new Set([image]));
    if (!target) throw new Error(WORDS.noKeyImages);
    await this.openImages(target);
    const pane = this.active ?? this.panes[0]!;
    pane.goTo(pane.pictures.findIndex((one) => text(one.attributes, TAG.SOPInstanceUID) === image));
  }

  /** Show the first image that a Key Object Selection names, with what it is called (PS3.3 C.17.6). */
  private async openKeyImages(series: Series, instance: string): Promise<void> {
    const [selection = {}] = await series.dicomweb.metadata(series.uid, instance);
    const named = new Set(
      items(selection, TAG.Content).flatMap((one) => items(one, TAG.ReferencedSOP).map((of) => text(of, TAG.ReferencedSOPInstanceUID))),
    );
    const target = await this.seriesWith(series.dicomweb, named);
    if (!target) throw new Error(WORDS.noKeyImages);
    await this.openImages(target);
    const pane = this.active ?? this.panes[0]!;
    pane.goTo(pane.pictures.findIndex((one) => named.has(text(one.attributes, TAG.SOPInstanceUID))));
    const title = items(selection, TAG.ConceptName).map((one) => text(one, TAG.CodeMeaning))[0];
    this.say([WORDS.keyImages, title].filter(Boolean).join(": "));
  }

  private tellError(error: unknown): void {
    this.say(error instanceof Error ? error.message : String(error));
  }

  private say(words: string): void {
    this.stage.querySelectorAll(".message").forEach((one) => one.remove());
    this.stage.append(element("p", { class: "message", role: "alert" }, words));
  }

  // -- layouts

  private layout(layout: Layout): void {
    const opened = this.active?.opened ?? this.panes[0]?.opened ?? this.volume;
    if (layout === "planes") return void this.cut(opened);
    const kept = this.panes.map((one) => one.opened);
    this.lay(layout === "twoSeries" ? 2 : 1);
    press(this.layoutButtons.values(), this.layoutButtons.get(layout));
    this.panes.forEach((pane, k) => {
      const of = kept[k] ?? (k === 0 ? opened : undefined);
      if (of) void pane.show(of);
    });
    const other = this.series.find((one) => kindOf(one.sopClass) === "images" && one.uid !== this.panes[0]?.opened?.series.uid);
    if (layout === "twoSeries" && !kept[1] && other) {
      this.focus(this.panes[1]!);
      void this.open(other);
    }
  }

  private lay(count: number): void {
    this.clear();
    this.stage.dataset.count = String(count);
    this.panes = Array.from({ length: count }, (_, k) => new Pane(this.engine, k + 1, {
      focused: (pane) => this.focus(pane),
      scrolled: (pane) => this.follow(pane),
      changed: () => this.tell(),
    }));
    this.stage.replaceChildren(...this.panes.map((one) => one.host));
    this.panes.forEach((pane) => {
      pane.enable();
      pane.host.addEventListener("keydown", (event) => {
        if (act(event, pane, this.tool)) event.preventDefault();
      });
    });
    this.focus(this.panes[0]!);
  }

  private async cut(opened: Opened | undefined): Promise<void> {
    if (!opened?.complete || !isVolume(opened.instances)) return this.say(WORDS.noPlanes);
    this.clear();
    this.stage.dataset.count = "3";
    this.planes = new Planes(this.engine);
    this.volume = opened;
    this.stage.replaceChildren(...this.planes.hosts.values());
    press(this.layoutButtons.values(), this.layoutButtons.get("planes"));
    await this.planes.show(opened);
  }

  private clear(): void {
    this.panes.forEach((one) => one.disable());
    this.planes?.disable();
    this.panes = [];
    this.planes = undefined;
    this.volume = undefined;
    this.active = undefined;
  }

  private focus(pane: Pane): void {
    this.active = pane;
    this.panes.forEach((one) => one.host.classList.toggle("active", one === pane));
    this.list.mark(pane.opened?.series.uid);
    this.offerStates();
    this.tell();
  }

  private follow(pane: Pane): void {
    if (!this.isLinked || pane !== this.active) return;
    this.panes.filter((one) => one !== pane).forEach((one) => together(pane, one));
  }

  /** Warn when two views show two patients, and say what the chosen one does. */
  private tell(): void {
    const shown = this.panes.map((one) => one.picture?.attributes).filter((one) => one !== undefined);
    const same = shown.every((one) => isSamePatient(one, shown[0]!));
    this.warning.hidden = same;
    this.warning.textContent = same ? "" : WORDS.twoPatients;
    this.measurements.tell();
    this.play.textContent = this.active?.isPlaying ? WORDS.pause : WORDS.play;
  }

  // -- tools

  private use(tool: PointerTool): void {
    this.tool = tool;
    choose(tool);
    press(this.toolButtons.values(), this.toolButtons.get(tool));
  }

  private toolbar(): HTMLElement {
    POINTER_TOOLS.forEach((tool) => this.toolButtons.set(tool, button(WORDS.tools[tool], () => this.use(tool))));
    (["oneSeries", "twoSeries", "planes"] as const).forEach((layout) =>
      this.layoutButtons.set(layout, button(WORDS[layout], () => this.layout(layout))),
    );
    const presets = element("select", { "aria-label": WORDS.presets }, element("option", { value: "" }, WORDS.presets));
    CT_PRESETS.forEach((one, k) => presets.append(element("option", { value: String(k) }, one.name)));
    presets.addEventListener("change", () => {
      const preset = CT_PRESETS[Number(presets.value)];
      if (preset && presets.value) this.active?.window(preset.center, preset.width);
      presets.value = "";
    });
    this.presented.addEventListener("change", () =>
      this.active?.present(this.states.find((one) => one.uid === this.presented.value)),
    );
    const link = button(WORDS.linked, () => {
      this.isLinked = !this.isLinked;
      link.setAttribute("aria-pressed", String(this.isLinked));
    }, { "aria-pressed": "true" });
    return element(
      "div",
      { class: "toolbar", role: "toolbar", "aria-label": WORDS.toolsLabel },
      group(...this.toolButtons.values()),
      group(
        button(WORDS.rotate, () => this.active?.rotate()),
        button(WORDS.invert, () => this.active?.invert()),
        button(WORDS.reset, () => this.active?.reset()),
        this.play,
        presets,
        this.presented,
      ),
      group(...this.layoutButtons.values(), link),
    );
  }
}

const group = (...members: HTMLElement[]) => element("div", { class: "group" }, ...members);

/** The presentation states that a series holds. */
async function statesOf({ dicomweb, uid }: Series): Promise<PresentationState[]> {
  const instances = await dicomweb.metadata(uid);
  return Promise.all(instances.map(async (one) => presentationState(one, await colorsOf(dicomweb, one).catch(() => undefined))));
}

/** The SOP Instance UIDs of a series. */
async function instancesOf(series: Series): Promise<string[]> {
  return (await series.dicomweb.instances(series.uid)).map((one) => text(one, TAG.SOPInstanceUID));
}
