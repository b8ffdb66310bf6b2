/** The parts of a multipart answer while it arrives (RFC 2046 5.1): each of the length that its head says. */

/** One part: its headers by lower-case name, and its content. */
export interface Part {
  headers: Map<string, string>;
  octets: ArrayBuffer;
}

const HEAD_OCTETS = 4096;
const HEAD_ENDS = "\r\n\r\n";

export class Incoming {
  private readonly reader: ReadableStreamBYOBReader;
  private readonly boundary: string;
  /** What was read and not yet taken. */
  private rest = new Uint8Array();

  constructor(answer: Response) {
    this.boundary = /boundary="?([^";]+)"?/i.exec(answer.headers.get("content-type") ?? "")?.[1] ?? "";
    this.reader = answer.body!.getReader({ mode: "byob" });
  }

  /** Every part in its order; an error where the answer is broken off. */
  async *parts(): AsyncGenerator<Part> {
    for (let head = await this.head(); head; head = await this.head()) {
      const length = Number(head.get("content-length"));
      if (!Number.isSafeInteger(length)) throw new Error("a part does not say its length");
      yield { headers: head, octets: await this.content(length) };
    }
  }

  /** The headers of the next part; undefined behind the last one. */
  private async head(): Promise<Map<string, string> | undefined> {
    const text = await this.headText();
    const [delimiter = "", ...lines] = text.trim().split("\r\n");
    if (delimiter === `--${this.boundary}--`) return undefined;
    if (delimiter !== `--${this.boundary}`) throw new Error("a part does not begin where the one before ends");
    return new Map(lines.map((one) => [one.slice(0, one.indexOf(":")).toLowerCase(), one.slice(one.indexOf(":") + 1).trim()]));
  }

  /** What stands before the next content, taken from the answer. */
  private async headText(): Promise<string> {
    for (;;) {
      const text = String.fromCharCode(...this.rest.subarray(0, HEAD_OCTETS));
      const end = text.indexOf(HEAD_ENDS);
      const isLast = text.trim() === `--${this.boundary}--`;
      if (end >= 0 || isLast) {
        this.rest = this.rest.subarray(isLast ? this.rest.length : end + HEAD_ENDS.length);
        return text.slice(0, isLast ? undefined : end);
      }
      if (this.rest.length >= HEAD_OCTETS) throw new Error("the head of a part does not end");
      const { value, done } = await this.reader.read(new Uint8Array(HEAD_OCTETS));
      if (done || !value) throw new Error("the answer is broken off");
      this.rest = joined(this.rest, value);
    }
  }

  /** The next octets, read to where they stay. */
  private async content(length: number): Promise<ArrayBuffer> {
    let whole = new ArrayBuffer(length);
    const known = this.rest.subarray(0, length);
    this.rest = this.rest.subarray(known.length);
    new Uint8Array(whole).set(known);
    for (let filled = known.length; filled < length; ) {
      const { value, done } = await this.reader.read(new Uint8Array(whole, filled));
      if (done || !value) throw new Error("the answer is broken off");
      filled += value.byteLength;
      whole = value.buffer;
    }
    return whole;
  }
}

function joined(one: Uint8Array, other: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(one.length + other.length);
  both.set(one);
  both.set(other, one.length);
  return both;
}
