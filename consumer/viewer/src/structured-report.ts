/** Structured reports as text: the content tree, item by item, whatever its template (PS3.3 C.17.3). */

import { TAG, date, items, person, text } from "./attributes";
import type { Attributes } from "./attributes";
import { button, element } from "./dom";
import { WORDS } from "./words";

const MOST_DEPTH = 30;

/** What a reader does who follows a reference to an instance. */
export type Follow = (instance: string) => void;

/** The report that an instance is. */
export function report(of: Attributes, follow: Follow): HTMLElement {
  const title = meaning(of, TAG.ConceptName) || text(of, TAG.SeriesDescription) || WORDS.report;
  const facts = [person(of, TAG.PatientName), text(of, TAG.PatientID), date(of, TAG.ContentDate), worded("completion", of), worded("verification", of)];
  return element(
    "article",
    { class: "document structured", tabindex: "0", "aria-label": title },
    element("h2", {}, title),
    element("p", { class: "quiet" }, facts.filter(Boolean).join(" · ")),
    content(of, 0, follow),
  );
}

function worded(flag: "completion" | "verification", of: Attributes): string {
  const value = text(of, flag === "completion" ? TAG.CompletionFlag : TAG.VerificationFlag);
  return WORDS.flags[value as keyof typeof WORDS.flags] ?? "";
}

function content(of: Attributes, depth: number, follow: Follow): HTMLElement {
  const list = element("ul", {});
  if (depth > MOST_DEPTH) return list;
  for (const item of items(of, TAG.Content)) {
    const name = meaning(item, TAG.ConceptName);
    const value = valueOf(item);
    const made = element("li", {}, element("strong", {}, name), name && value ? ": " : "", value);
    made.append(...references(item, follow));
    if (items(item, TAG.Content).length) made.append(content(item, depth + 1, follow));
    list.append(made);
  }
  return list;
}

const meaning = (of: Attributes, tag: string) => items(of, tag).map((code) => text(code, TAG.CodeMeaning))[0] ?? "";

/** A way to each image that an item refers to. */
function references(item: Attributes, follow: Follow): HTMLElement[] {
  if (text(item, TAG.ValueType) !== "IMAGE") return [];
  const named = items(item, TAG.ReferencedSOP).map((one) => text(one, TAG.ReferencedSOPInstanceUID));
  return named.map((one) => button(WORDS.showImage, () => follow(one), { class: "plain" }));
}

/** What a content item says, by its value type. */
function valueOf(item: Attributes): string {
  switch (text(item, TAG.ValueType)) {
    case "TEXT":
      return text(item, TAG.TextValue);
    case "CODE":
      return meaning(item, TAG.ConceptCode);
    case "NUM": {
      const [measured] = items(item, TAG.MeasuredValue);
      return measured ? [text(measured, TAG.NumericValue), meaning(measured, TAG.MeasurementUnits)].join(" ").trim() : "";
    }
    case "DATE":
      return date(item, TAG.Date);
    case "TIME":
      return text(item, TAG.Time);
    case "DATETIME":
      return text(item, TAG.DateTime);
    case "PNAME":
      return person(item, TAG.PersonName);
    case "UIDREF":
      return text(item, TAG.UID);
    case "COMPOSITE":
    case "WAVEFORM":
      return WORDS.refersTo;
    default:
      return "";
  }
}
