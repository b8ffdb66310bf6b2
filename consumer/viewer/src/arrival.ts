/** The frames of a series on their way by one request, and those that came, before anything can show them. */

import { TAG, number, texts } from "./attributes";
import type { Attributes } from "./attributes";
import type { ArrivedFrame, Told, Wanted } from "./arriving";
import type { Dicomweb } from "./dicomweb";
import type { Series } from "./series";

/** The most that is kept as it came. */
const KEPT_OCTETS = 512 * 1024 * 1024;
const AS_STORED = 'multipart/related; type="application/octet-stream"; transfer-syntax=*';

/** What came, the longest there first, by its place below the base of the front. */
const kept = new Map<string, ArrivedFrame>();
let keptOctets = 0;

/** The place of an image or an address: hosts may be called differently within and without. */
const placeOf = (address: string) => address.slice(address.indexOf("/studies/"));

function keep(frame: ArrivedFrame): void {
  const place = placeOf(frame.location);
  forget(place);
  kept.set(place, frame);
  keptOctets += frame.octets.byteLength;
  for (const one of kept.keys()) if (keptOctets > KEPT_OCTETS) forget(one);
}

function forget(place: string): void {
  keptOctets -= kept.get(place)?.octets.byteLength ?? 0;
  kept.delete(place);
}

/** What came of an image, as long as it is kept. */
export const arrivedFrame = (imageId: string) => kept.get(placeOf(imageId));

/** JPEG of more than 8 bits: our decoder gives each pixel 15 too much. */
export const isDecodedWrongly = (of: Attributes) =>
  texts(of, TAG.LossyImageCompressionMethod).includes("ISO_10918_1") && (number(of, TAG.BitsStored) ?? 0) > 8;

/** Have the frames of a series come by one request; undefined where it has but one, or they are not kept as they come. */
export function arrivalOf(series: Series, attributes: Attributes): Arrival | undefined {
  const frames = series.instances * (number(attributes, TAG.NumberOfFrames) ?? 1);
  const tags = [TAG.Rows, TAG.Columns, TAG.SamplesPerPixel, TAG.BitsAllocated];
  const octets = tags.reduce((product, tag) => product * (number(attributes, tag) ?? 1), frames / 8);
  if (frames < 2 || octets > KEPT_OCTETS || isDecodedWrongly(attributes)) return undefined;
  return Arrival.of(series.dicomweb, series.uid);
}

/** The frames of one series by one request; `ended` when no more will come, for whatever reason. */
export class Arrival {
  readonly ended: Promise<void>;
  private readonly worker = new Worker(new URL("./arriving.ts", import.meta.url), { type: "module" });
  private readonly watchers = new Set<(imageId: string) => void>();
  private end!: () => void;
  private isOver = false;

  private constructor(
    dicomweb: Dicomweb,
    private readonly series: string,
  ) {
    this.ended = new Promise((resolve) => (this.end = resolve));
    this.worker.onerror = () => this.close();
    this.worker.onmessage = ({ data }: MessageEvent<Told>) => (data === "end" ? this.close() : this.take(data));
    const headers = { ...dicomweb.authorization, Accept: AS_STORED };
    this.worker.postMessage({ address: `${series}pixeldata`, headers } satisfies Wanted);
  }

  /** That of a series, which is asked for once. */
  static of(dicomweb: Dicomweb, series: string): Arrival {
    const address = dicomweb.address(`/series/${series}/`);
    const arrival = arrivals.get(address) ?? new Arrival(dicomweb, address);
    arrivals.set(address, arrival);
    return arrival;
  }

  /** Have `came` called for each image that comes, until what this gives is called. */
  watch(came: (imageId: string) => void): () => void {
    this.watchers.add(came);
    return () => void this.watchers.delete(came);
  }

  /** Whether an image is here. */
  has(imageId: string): boolean {
    return arrivedFrame(imageId) !== undefined;
  }

  /** Have no more come; who wants it again asks again. */
  stop(): void {
    if (this.isOver) return;
    arrivals.delete(this.series);
    this.close();
  }

  private close(): void {
    this.isOver = true;
    this.worker.terminate();
    this.end();
  }

  private take(frame: ArrivedFrame): void {
    const place = placeOf(frame.location);
    const within = placeOf(this.series);
    // What is of another series is nothing that was asked for.
    if (!place.startsWith(within)) return;
    keep(frame);
    this.watchers.forEach((came) => came(`wadors:${this.series}${place.slice(within.length)}`));
  }
}

const arrivals = new Map<string, Arrival>();
