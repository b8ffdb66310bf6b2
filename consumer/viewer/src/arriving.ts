/** A worker that takes the frames of a series from one answer, and hands each on as soon as it is whole. */

import { Incoming } from "./multipart";

/** Which answer is taken: its address, and the headers of the request. */
export interface Wanted {
  address: string;
  headers: Record<string, string>;
}

/** One frame, the place at which it is also given alone, and its media type. */
export interface ArrivedFrame {
  location: string;
  mediaType: string;
  octets: ArrayBuffer;
}

/** What the worker tells: each frame, and at last that no more comes. */
export type Told = ArrivedFrame | "end";

async function take({ address, headers }: Wanted): Promise<void> {
  const answer = await fetch(address, { headers, credentials: "same-origin", redirect: "error" });
  if (!answer.ok || !answer.body) return;
  for await (const { headers: of, octets } of new Incoming(answer).parts()) {
    const frame = { location: of.get("content-location") ?? "", mediaType: of.get("content-type") ?? "", octets };
    postMessage(frame satisfies Told, { transfer: [octets] });
  }
}

const end = () => postMessage("end" satisfies Told);

// Of what is broken off the page asks for the rest, and is told why it does not come.
onmessage = ({ data }: MessageEvent<Wanted>) => void take(data).then(end, end);
