/** The front of the consumer (PS3.18): every request with the token of this study, and none to another host. */

import type { Attributes, Element } from "./attributes";
import { WORDS } from "./words";

/** What went wrong, in words for the person. */
export class Unanswered extends Error {
  constructor(readonly status: number) {
    super(wordsOf(status));
  }
}

function wordsOf(status: number): string {
  if (status === 401) return WORDS.signedOut;
  if (status === 403) return WORDS.refused;
  if (status === 404 || status === 410) return WORDS.unknown;
  if (status === 0 || status >= 500 || status === 429) return WORDS.unavailable;
  return WORDS.broken;
}

/** What the page says of a study: its UID, what it is called, the token for it alone, and where the next is. */
export interface GivenStudy {
  study: string;
  title: string;
  token: string;
  renewal: string;
}

/** What the page says: the base of the front, the studies, and by what its own forms are known. */
export interface Given {
  base: string;
  form: string;
  studies: GivenStudy[];
}

/** Long before a token ends. */
const RENEWAL_MILLISECONDS = 4 * 60 * 1000;

export class Dicomweb {
  private token: string;

  constructor(
    private readonly given: Given,
    private readonly of: GivenStudy,
  ) {
    this.token = of.token;
    setInterval(() => void this.renew(), RENEWAL_MILLISECONDS);
  }

  /** Ask for the next token; where there is none, the next request tells why. */
  private async renew(): Promise<void> {
    const answer = await fetch(this.of.renewal, {
      method: "POST",
      body: new URLSearchParams({ token: this.given.form }),
      redirect: "error",
    }).catch(() => undefined);
    if (answer?.ok) this.token = ((await answer.json()) as { token: string }).token;
  }

  /** The header by which a request says for what it was let in. */
  get authorization(): Record<string, string> {
    return { Authorization: `Bearer ${this.token}` };
  }

  /** What the study is called. */
  get title(): string {
    return this.of.title;
  }

  /** The absolute address of something in this study. */
  address(path: string): string {
    return new URL(`${this.given.base}/studies/${this.of.study}${path}`, document.baseURI).href;
  }

  /** Whether an address, or the name of an image, is of this study. */
  has(address: string): boolean {
    return address.includes(this.address("/"));
  }

  /** The series of the study, as far as they are known without their images (QIDO-RS). */
  series(): Promise<Attributes[]> {
    return this.json("/series");
  }

  /** The instances of a series, or the first `most` of them, as far as they are known without them. */
  instances(series: string, most?: number): Promise<Attributes[]> {
    return this.json(`/series/${series}/instances${most ? `?limit=${most}` : ""}`);
  }

  /** The attributes of every instance of a series, or of one of them. */
  metadata(series: string, instance?: string): Promise<Attributes[]> {
    return this.json(`/series/${series}${instance ? `/instances/${instance}` : ""}/metadata`);
  }

  /** One instance as a DICOM file; refuses more than `most` octets. */
  async file(series: string, instance: string, most: number): Promise<ArrayBuffer> {
    const answer = await this.answer(
      `/series/${series}/instances/${instance}`,
      'multipart/related; type="application/dicom"; transfer-syntax=*',
    );
    if (Number(answer.headers.get("content-length") ?? 0) > most) {
      await answer.body?.cancel();
      throw new Error(WORDS.tooLarge);
    }
    return onlyPart(answer.headers.get("content-type") ?? "", new Uint8Array(await answer.arrayBuffer()));
  }

  /** The octets of an attribute, which stand in it or have an address of their own (PS3.18 F.2.7, F.2.6). */
  async octets(of: Element | undefined): Promise<Uint8Array> {
    if (of?.InlineBinary) return Uint8Array.from(atob(of.InlineBinary), (one) => one.charCodeAt(0));
    const study = `/studies/${this.of.study}`;
    const at = of?.BulkDataURI?.indexOf(study) ?? -1;
    if (at < 0) return new Uint8Array();
    // Hosts may be called differently within and without.
    const answer = await this.answer(of!.BulkDataURI!.slice(at + study.length), 'multipart/related; type="application/octet-stream"');
    return new Uint8Array(onlyPart(answer.headers.get("content-type") ?? "", new Uint8Array(await answer.arrayBuffer())));
  }

  /** A small picture of a series. */
  async thumbnail(series: string): Promise<Blob> {
    return (await this.answer(`/series/${series}/thumbnail`, "image/jpeg")).blob();
  }

  private async json(path: string): Promise<Attributes[]> {
    const answer = await this.answer(path, "application/dicom+json");
    return answer.status === 204 ? [] : answer.json();
  }

  private async answer(path: string, accept: string): Promise<Response> {
    const answer = await fetch(this.address(path), {
      headers: { ...this.authorization, Accept: accept },
      credentials: "same-origin",
      redirect: "error",
    }).catch(() => {
      throw new Unanswered(0);
    });
    if (!answer.ok) throw new Unanswered(answer.status);
    return answer;
  }
}

/** The octets of the only part of an answer that may be multipart/related. */
function onlyPart(type: string, octets: Uint8Array): ArrayBuffer {
  const boundary = /boundary="?([^";]+)"?/i.exec(type)?.[1];
  if (!boundary) return octets.slice().buffer;
  const start = indexOf(octets, bytes("\r\n\r\n"), 0) + 4;
  const end = lastIndexOf(octets, bytes(`\r\n--${boundary}`));
  if (start < 4 || end < start) throw new Error(WORDS.broken);
  return octets.slice(start, end).buffer;
}

const bytes = (text: string) => new TextEncoder().encode(text);

const matches = (within: Uint8Array, what: Uint8Array, at: number) => what.every((one, k) => within[at + k] === one);

function indexOf(within: Uint8Array, what: Uint8Array, from: number): number {
  for (let at = from; at <= within.length - what.length; at++) if (matches(within, what, at)) return at;
  return -1;
}

function lastIndexOf(within: Uint8Array, what: Uint8Array): number {
  for (let at = within.length - what.length; at >= 0; at--) if (matches(within, what, at)) return at;
  return -1;
}
