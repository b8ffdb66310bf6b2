/** Letters at the edges of a view: which side of the patient lies there (PS3.3 C.7.6.1.1.1). */

import type { Vector } from "./series";

const LETTERS: [string, string][] = [
  ["L", "R"],
  ["P", "A"],
  ["H", "F"],
];
const SMALLEST = 0.05;

/** The letters of a direction in patient coordinates, the main one first: at most three. */
export function lettersOf(direction: Vector): string {
  return direction
    .map((value, axis) => ({ size: Math.abs(value), letter: LETTERS[axis]![value > 0 ? 0 : 1] }))
    .filter((one) => one.size > SMALLEST)
    .sort((one, other) => other.size - one.size)
    .map((one) => one.letter)
    .join("");
}

/** The letters of the other side. */
export function opposite(letters: string): string {
  const pairs = new Map(LETTERS.flatMap(([one, other]) => [[one, other], [other, one]] as [string, string][]));
  return [...letters].map((letter) => pairs.get(letter) ?? letter).join("");
}

export const cross = (a: Vector, b: Vector): Vector => [
  a[1] * b[2] - a[2] * b[1],
  a[2] * b[0] - a[0] * b[2],
  a[0] * b[1] - a[1] * b[0],
];

export interface Edges {
  left: string;
  right: string;
  top: string;
  bottom: string;
}

/** The letters at the edges of a view whose top and normal are known. */
export function edges(up: Vector, normal: Vector): Edges {
  const right = lettersOf(cross(up, normal));
  const top = lettersOf(up);
  return { left: opposite(right), right, top, bottom: opposite(top) };
}

/** The letters as an image without a place in space tells them, turned by quarters of a circle clockwise. */
export function toldEdges(row: string, column: string, quarters: number): Edges {
  const around = [opposite(column), row, column, opposite(row)]; // top, right, bottom, left
  const at = (edge: number) => around[(((edge - quarters) % 4) + 4) % 4]!;
  return { top: at(0), right: at(1), bottom: at(2), left: at(3) };
}
