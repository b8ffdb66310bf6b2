/** Opening a series: its first image at once, the others as they come. */

import { TAG, number, text } from "./attributes";
import type { Attributes } from "./attributes";
import { arrivalOf } from "./arrival";
import type { Arrival } from "./arrival";
import { know } from "./engine";
import { inOrder, isSamePatient } from "./series";
import type { Picture, Series } from "./series";

/** What is known of a series so far, and its frames on their way; `strangers` are images that name another patient. */
export interface Opened {
  series: Series;
  pictures: Picture[];
  instances: Attributes[];
  strangers: number;
  complete: boolean;
  arrival: Arrival | undefined;
}

/** Give a series twice: with its first instance, then with all of them. */
export async function* openings(series: Series, first: string): AsyncGenerator<Opened> {
  let arrival: Arrival | undefined;
  if (series.instances > 1) {
    const one = await (series.head ?? series.dicomweb.metadata(series.uid, first).then(([head]) => head));
    arrival = one && arrivalOf(series, one);
    if (one) yield opened(series, [one], false, arrival);
  }
  const all = await series.dicomweb.metadata(series.uid).catch((error: unknown) => {
    arrival?.stop();
    throw error;
  });
  if (series.instances === 1) arrival = all[0] && arrivalOf(series, all[0]);
  yield opened(series, all, true, arrival);
}

function opened(series: Series, received: Attributes[], complete: boolean, arrival?: Arrival): Opened {
  const of = received.filter((one) => text(one, TAG.SeriesInstanceUID) === series.uid);
  const known = of[0];
  const ours = of.filter((one) => isSamePatient(one, known!));
  const instances = inOrder(ours);
  const pictures = instances.flatMap((one) => picturesOf(series, one));
  return { series, pictures, instances, strangers: received.length - ours.length, complete, arrival };
}

function picturesOf(series: Series, attributes: Attributes): Picture[] {
  if (number(attributes, TAG.Rows) === undefined) return [];
  const address = series.dicomweb.address(`/series/${series.uid}/instances/${text(attributes, TAG.SOPInstanceUID)}/frames/`);
  const count = number(attributes, TAG.NumberOfFrames) ?? 1;
  return Array.from({ length: count }, (_, k) => {
    const imageId = `wadors:${address}${k + 1}`;
    know(imageId, attributes);
    return { imageId, attributes, frame: k + 1 };
  });
}
