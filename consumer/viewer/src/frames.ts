/** Frames as they came, each decoded when it is shown: those of a series by one request. */

import { imageLoader } from "@cornerstonejs/core";
import type { Types } from "@cornerstonejs/core";
import * as loader from "@cornerstonejs/dicom-image-loader";

import type { ArrivedFrame, Told, Wanted } from "./arriving";
import type { Dicomweb } from "./dicomweb";

/** The most that is kept as it came. */
export const KEPT_OCTETS = 512 * 1024 * 1024;
const AS_STORED = 'multipart/related; type="application/octet-stream"; transfer-syntax=*';
const IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2";

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

/** Have images made of what came, and else be asked for one by one. */
export function useArrivedFrames(): void {
  imageLoader.registerImageLoader("wadors", (imageId: string, options?: Record<string, unknown>) => {
    const frame = kept.get(placeOf(imageId));
    if (!frame) return loader.wadors.loadImage(imageId, options) as unknown as Types.IImageLoadObject;
    const syntax = /transfer-syntax=([0-9.]+)/.exec(frame.mediaType)?.[1] ?? IMPLICIT_LITTLE_ENDIAN;
    const image = loader.createImage(imageId, new Uint8Array(frame.octets), syntax, options);
    return { promise: image as Promise<Types.IImage> };
  });
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
    return kept.has(placeOf(imageId));
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
