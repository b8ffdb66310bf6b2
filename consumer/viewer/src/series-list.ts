/** The series of a study, each with a small picture, to be chosen. */

import { element, press } from "./dom";
import type { Series } from "./series";
import { kindOf } from "./series";
import { WORDS } from "./words";

export class SeriesList {
  readonly host = element("nav", { class: "series", "aria-label": WORDS.seriesLabel });
  private readonly buttons = new Map<string, HTMLButtonElement>();

  constructor(series: Series[], chosen: (series: Series) => void) {
    const studies = new Set(series.map((one) => one.dicomweb));
    for (const [k, one] of series.entries()) {
      if (studies.size > 1 && one.dicomweb !== series[k - 1]?.dicomweb)
        this.host.append(element("h2", { class: "of-study" }, one.dicomweb.title));
      const made = element(
        "button",
        { type: "button", "aria-pressed": "false" },
        element("span", { class: "thumbnail" }),
        element(
          "span",
          { class: "about" },
          element("strong", {}, [one.modality, one.number].filter(Boolean).join(" ") || WORDS.series),
          element("span", {}, one.description),
          element("span", { class: "quiet" }, WORDS.images(one.instances)),
        ),
      );
      made.addEventListener("click", () => chosen(one));
      this.buttons.set(one.uid, made);
      this.host.append(made);
    }
  }

  /** Mark the series that the chosen pane shows. */
  mark(uid: string | undefined): void {
    press(this.buttons.values(), uid ? this.buttons.get(uid) : undefined);
  }

  /** Fetch the small pictures, one after the other: they are the least of what is waited for. */
  async illustrate(series: Series[]): Promise<void> {
    for (const one of series.filter((of) => kindOf(of.sopClass) === "images")) {
      const picture = await one.dicomweb.thumbnail(one.uid).catch(() => undefined);
      if (picture) this.put(one.uid, picture);
    }
  }

  private put(uid: string, picture: Blob): void {
    const image = element("img", { src: URL.createObjectURL(picture), alt: "" });
    this.buttons.get(uid)?.querySelector(".thumbnail")?.replaceChildren(image);
  }
}
