/** CDA documents as people read them (HL7 CDA R2 4.3): who and when, and their narrative as a few plain elements.
 * Nothing of a document becomes markup, an attribute or an address; what it was parsed to runs and loads nothing. */

import { element, lines } from "./dom";
import { WORDS } from "./words";

const NAMESPACE = "urn:hl7-org:v3";
const MOST_OCTETS = 16 * 1024 * 1024;
const MOST_DEPTH = 100;
const HEAD_OCTETS = 256;
const DECLARED_ENCODING = /^\s*<\?xml[^>]*?encoding=["']([A-Za-z0-9._-]+)["']/;
type Plain = "p" | "li" | "strong" | "span" | "sub" | "sup" | "table" | "thead" | "tbody" | "tfoot" | "tr" | "th" | "td" | "ol" | "ul" | "em" | "u" | "br";

/** Elements of a narrative block, and what shows them; any other shows its text. */
const PLAIN: Record<string, Plain> = {
  paragraph: "p",
  item: "li",
  caption: "strong",
  content: "span",
  sub: "sub",
  sup: "sup",
  table: "table",
  thead: "thead",
  tbody: "tbody",
  tfoot: "tfoot",
  tr: "tr",
  th: "th",
  td: "td",
  br: "br",
};
const STYLES: Record<string, Plain> = { bold: "strong", italics: "em", underline: "u" };
const HEADINGS = ["h3", "h4", "h5", "h6"] as const;

/** A document, whose patient others call `patient`; `wrapped` shows what it wraps in the place of sections. */
export function clinicalDocument(octets: Uint8Array, patient: string, wrapped: (octets: Uint8Array, type: string) => HTMLElement): HTMLElement {
  const root = parsed(octets);
  const title = line(child(root, "title")) || WORDS.report;
  const role = path(root, "recordTarget", "patientRole");
  const name = nameOf(path(role, "patient", "name"));
  const facts = element("p", { class: "quiet" });
  const ids = children(role, "id").map((one) => one.getAttribute("extension") ?? "").filter(Boolean);
  const born = day(path(role, "patient", "birthTime"));
  const author = nameOf(path(root, "author", "assignedAuthor", "assignedPerson", "name"));
  lines(facts, [[name, ids.join(", "), born && `* ${born}`].filter(Boolean).join(" · "), [day(child(root, "effectiveTime")), author].filter(Boolean).join(", ")]);
  const made = element("article", { class: "document structured", tabindex: "0", "aria-label": title }, element("h2", {}, title), facts);
  if (isAnother(name, patient)) made.append(element("p", { class: "notice", role: "alert" }, WORDS.anotherName(name, patient)));
  const body = path(root, "component", "nonXMLBody", "text");
  if (body) made.append(wrappedIn(body, wrapped));
  for (const one of children(path(root, "component", "structuredBody"), "component")) made.append(...section(child(one, "section"), 0));
  return made;
}

function parsed(octets: Uint8Array): Element {
  if (octets.length > MOST_OCTETS) throw new Error(WORDS.tooLarge);
  const head = new TextDecoder("latin1").decode(octets.subarray(0, HEAD_OCTETS));
  const text = decoded(octets, DECLARED_ENCODING.exec(head)?.[1] ?? "utf-8");
  // Entities of its own are nothing that a report needs.
  if (/<!DOCTYPE/i.test(text)) throw new Error(WORDS.broken);
  const root = new DOMParser().parseFromString(trusted(text), "application/xml").documentElement;
  if (root.localName !== "ClinicalDocument" || root.namespaceURI !== NAMESPACE) throw new Error(WORDS.broken);
  return root;
}

function decoded(octets: Uint8Array, encoding: string): string {
  try {
    return new TextDecoder(encoding, { fatal: true }).decode(octets).replace(/\0+$/, "");
  } catch {
    throw new Error(WORDS.broken);
  }
}

/** Text for the parser alone, whose document is nowhere shown (Trusted Types). */
function trusted(text: string): string {
  const factory = (window as unknown as { trustedTypes?: { createPolicy(name: string, rules: object): { createHTML(text: string): string } } }).trustedTypes;
  policy ??= factory?.createPolicy("clinical-document", { createHTML: (one: string) => one });
  return policy?.createHTML(text) ?? text;
}

let policy: { createHTML(text: string): string } | undefined;

function wrappedIn(text: Element, wrapped: (octets: Uint8Array, type: string) => HTMLElement): HTMLElement {
  const type = (text.getAttribute("mediaType") ?? "text/plain").split(";")[0]!.trim().toLowerCase();
  const content = text.textContent ?? "";
  const isText = (text.getAttribute("representation") ?? "TXT").toUpperCase() !== "B64";
  const octets = isText ? new TextEncoder().encode(content) : fromBase64(content);
  return type === "text/plain" ? element("pre", { class: "narrative" }, new TextDecoder().decode(octets)) : wrapped(octets, type);
}

function fromBase64(text: string): Uint8Array {
  try {
    return Uint8Array.from(atob(text.replace(/\s+/g, "")), (one) => one.charCodeAt(0));
  } catch {
    throw new Error(WORDS.broken);
  }
}

function section(of: Element | undefined, depth: number): HTMLElement[] {
  if (!of || depth > MOST_DEPTH) return [];
  const title = line(child(of, "title"));
  const text = child(of, "text");
  return [
    ...(title ? [element(HEADINGS[Math.min(depth, HEADINGS.length - 1)]!, {}, title)] : []),
    ...(text ? [element("div", { class: "narrative" }, ...narrative(text, 0))] : []),
    ...children(of, "component").flatMap((one) => section(child(one, "section"), depth + 1)),
  ];
}

function narrative(of: Element, depth: number): (Node | string)[] {
  if (depth > MOST_DEPTH) return [of.textContent ?? ""];
  return [...of.childNodes].flatMap((one): (Node | string)[] => {
    if (one instanceof Element) return [plain(one, depth)];
    return one.nodeType === Node.TEXT_NODE || one.nodeType === Node.CDATA_SECTION_NODE ? [one.nodeValue ?? ""] : [];
  });
}

function plain(of: Element, depth: number): HTMLElement {
  if (of.localName === "renderMultiMedia") return element("em", {}, WORDS.pictureBeside);
  const list = of.getAttribute("listType") === "ordered" ? "ol" : "ul";
  const name = of.localName === "list" ? list : (PLAIN[of.localName] ?? "span");
  const styles = (of.getAttribute("styleCode") ?? "").toLowerCase().split(/\s+/);
  const style = styles.map((one) => STYLES[one]).find(Boolean);
  const content = narrative(of, depth + 1);
  return element(name, {}, ...(style ? [element(style, {}, ...content)] : content));
}

const children = (of: Element | undefined, name: string) =>
  [...(of?.children ?? [])].filter((one) => one.localName === name && one.namespaceURI === NAMESPACE);

const child = (of: Element | undefined, name: string) => children(of, name)[0];

const path = (of: Element | undefined, ...names: string[]) => names.reduce(child, of);

const line = (of: Element | undefined) => (of?.textContent ?? "").split(/\s+/).filter(Boolean).join(" ");

/** A name as people write it: family name, then the others. */
function nameOf(of: Element | undefined): string {
  const parts = (name: string) => children(of, name).map(line).filter(Boolean).join(" ");
  return [parts("family"), parts("given")].filter(Boolean).join(", ") || line(of);
}

const day = (of: Element | undefined) => (of?.getAttribute("value") ?? "").replace(/^(\d{4})(\d\d)(\d\d).*$/, "$1-$2-$3");

/** Whether two names that are both said are of two people. */
function isAnother(one: string, other: string): boolean {
  const [mine, yours] = [one, other].map((name) => name.normalize("NFKD").replace(/[^\p{L}]+/gu, "").toUpperCase());
  return Boolean(mine && yours) && mine !== yours;
}
