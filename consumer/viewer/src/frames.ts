/** Frames as they came, each decoded when it is shown. */

import { imageLoader } from "@cornerstonejs/core";
import type { Types } from "@cornerstonejs/core";
import * as loader from "@cornerstonejs/dicom-image-loader";

import { arrivedFrame } from "./arrival";

const IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2";

/** Have images made of what came, and else be asked for one by one. */
export function useArrivedFrames(): void {
  imageLoader.registerImageLoader("wadors", (imageId: string, options?: Record<string, unknown>) => {
    const frame = arrivedFrame(imageId);
    if (!frame) return loader.wadors.loadImage(imageId, options) as unknown as Types.IImageLoadObject;
    const syntax = /transfer-syntax=([0-9.]+)/.exec(frame.mediaType)?.[1] ?? IMPLICIT_LITTLE_ENDIAN;
    const image = loader.createImage(imageId, new Uint8Array(frame.octets), syntax, options);
    return { promise: image as Promise<Types.IImage> };
  });
}
