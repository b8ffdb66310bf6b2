/** The viewer of one study, or two side by side: what the page says, shown. */

import "./viewer.css";

import { TAG, number, text } from "./attributes";
import { Dicomweb } from "./dicomweb";
import type { Given } from "./dicomweb";
import { element } from "./dom";
import type { Series } from "./series";
import { Viewer } from "./viewer";
import { WORDS } from "./words";

async function begin(host: HTMLElement, given: Given): Promise<void> {
  const studies = given.studies.map((one) => new Dicomweb(given, one));
  const series = (await Promise.all(studies.map(seriesOf))).flat();
  if (!series.length) throw new Error(WORDS.noImages);
  await new Viewer(host, studies, series).begin();
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

const host = document.getElementById("viewer")!;
const given = JSON.parse(document.getElementById("given")!.textContent!) as Given;
begin(host, given).catch((error: unknown) => {
  host.replaceChildren(element("p", { class: "failure", role: "alert" }, error instanceof Error ? error.message : String(error)));
});
