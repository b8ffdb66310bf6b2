/** The viewer of one study, or two side by side: what the page says, shown. */

import "./viewer.css";

import { arrivalOf } from "./arrival";
import { TAG, number, text } from "./attributes";
import type { Attributes } from "./attributes";
import { Dicomweb } from "./dicomweb";
import type { Given } from "./dicomweb";
import { element } from "./dom";
import { kindOf } from "./series";
import type { Series } from "./series";
import { trustOwnScripts } from "./trust";
import { WORDS } from "./words";

async function begin(host: HTMLElement, given: Given): Promise<void> {
  trustOwnScripts();
  // By far the largest part: it comes while what is shown first is asked for.
  const viewer = import("./viewer");
  const studies = given.studies.map((one) => new Dicomweb(given, one));
  const series = (await Promise.all(studies.map(seriesOf))).flat();
  if (!series.length) throw new Error(WORDS.noImages);
  const known = learn(series);
  known.catch(() => undefined); // told where it is awaited
  const { Viewer } = await viewer;
  await new Viewer(host, studies, series).begin(known);
}

async function seriesOf(dicomweb: Dicomweb): Promise<Series[]> {
  return (await dicomweb.series()).map(
    (one): Series => ({
      dicomweb,
      uid: text(one, TAG.SeriesInstanceUID),
      modality: text(one, TAG.Modality),
      number: text(one, TAG.SeriesNumber),
      description: text(one, TAG.SeriesDescription),
      sopClass: "",
      instances: number(one, "00201209") ?? 0,
    }),
  );
}

/** Of which kind the series are, by the first instance of each; of the first one it is asked for first. */
async function learn([first, ...others]: Series[]): Promise<void> {
  await learnOf(first!);
  if (first!.first && first!.instances > 1 && kindOf(first!.sopClass) === "images") ahead(first!, first!.first);
  await Promise.all(others.map(learnOf));
}

async function learnOf(series: Series): Promise<void> {
  [series.first] = await series.dicomweb.instances(series.uid, 1);
  series.sopClass = series.first ? text(series.first, TAG.SOPClassUID) : "";
}

/** Have images come while the viewer itself is on its way. */
function ahead(series: Series, first: Attributes): void {
  series.head = series.dicomweb.metadata(series.uid, text(first, TAG.SOPInstanceUID)).then(([head]) => {
    if (head) arrivalOf(series, head);
    return head;
  });
  series.head.catch(() => (series.head = undefined)); // asked for again, and told, where it is needed
}

const host = document.getElementById("viewer")!;
const given = JSON.parse(document.getElementById("given")!.textContent!) as Given;
begin(host, given).catch((error: unknown) => {
  host.replaceChildren(element("p", { class: "failure", role: "alert" }, error instanceof Error ? error.message : String(error)));
});
