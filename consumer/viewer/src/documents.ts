/** Encapsulated documents and videos: taken out of their instance here, shown from memory. */

import dicomParser from "dicom-parser";

import { TAG, person } from "./attributes";
import { clinicalDocument } from "./clinical-document";
import { element } from "./dom";
import type { Kind, Series } from "./series";
import type { Follow } from "./structured-report";
import { report } from "./structured-report";
import { WORDS } from "./words";

const MOST_OCTETS = 256 * 1024 * 1024;
const DOCUMENT = "x00420011";
const TYPE_OF_DOCUMENT = "x00420012";
const PIXELS = "x7fe00010";
const LENGTH_OF_DOCUMENT = "x00420015";
/** What a browser shows by itself, without scripts of its own. */
const SHOWN = ["application/pdf"];
/** What a CDA document is called in an instance (PS3.3 A.45.2). */
const XML = ["text/xml", "application/xml"];

/** An element that shows an instance that is a document, a report or a video. */
export async function shown(series: Series, instance: string, kind: Kind, follow: Follow): Promise<HTMLElement> {
  if (kind === "report") return report((await series.dicomweb.metadata(series.uid, instance))[0] ?? {}, follow);
  const file = dicomParser.parseDicom(new Uint8Array(await series.dicomweb.file(series.uid, instance, MOST_OCTETS)));
  if (kind === "video") return video(file);
  const type = file.string(TYPE_OF_DOCUMENT)?.trim().toLowerCase() ?? "";
  const octets = documentOf(file);
  if (!XML.includes(type)) return frame(octets, type, series);
  const [of = {}] = await series.dicomweb.metadata(series.uid, instance);
  return clinicalDocument(octets, person(of, TAG.PatientName), (within, ofType) => frame(within, ofType, series));
}

/** The document within an instance, without what fills its last place. */
function documentOf(file: dicomParser.DataSet): Uint8Array {
  const content = file.elements[DOCUMENT];
  if (!content) throw new Error(WORDS.broken);
  const length = Math.min(file.uint32(LENGTH_OF_DOCUMENT) ?? content.length, content.length);
  return new Uint8Array(file.byteArray.subarray(content.dataOffset, content.dataOffset + length));
}

function frame(octets: Uint8Array, type: string, series: Series): HTMLElement {
  if (!SHOWN.includes(type)) throw new Error(WORDS.notAnImage(type || series.description || series.modality));
  return element("iframe", { class: "document", src: address(octets, type), title: series.description || WORDS.series });
}

function video(file: dicomParser.DataSet): HTMLElement {
  const content = file.elements[PIXELS];
  const octets = content?.fragments?.map((one) => fragment(file, one)) ?? [];
  if (!octets.length) throw new Error(WORDS.broken);
  return element("video", { class: "document", src: URL.createObjectURL(new Blob(octets, { type: "video/mp4" })), controls: true });
}

function fragment(file: dicomParser.DataSet, one: { position: number; length: number }): Uint8Array<ArrayBuffer> {
  return new Uint8Array(file.byteArray.slice(one.position, one.position + one.length));
}

function address(octets: ArrayLike<number>, type: string): string {
  return URL.createObjectURL(new Blob([new Uint8Array(octets)], { type }));
}
