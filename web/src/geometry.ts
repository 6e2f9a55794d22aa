// Points and polygons in the map's own units.

export type Point = [number, number];

/** The indices of the points that lie inside a polygon (even-odd rule), of those that `shown` lets through. */
export function inside(positions: Float32Array, polygon: Point[], shown: (index: number) => boolean): number[] {
  if (polygon.length < 3) return [];
  const xs = polygon.map(([x]) => x);
  const ys = polygon.map(([, y]) => y);
  const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const found: number[] = [];
  for (let index = 0; index < positions.length / 2; index++) {
    const x = positions[2 * index]!;
    const y = positions[2 * index + 1]!;
    if (x < left || x > right || y < low || y > high || !shown(index)) continue;
    let odd = false;
    for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
      const [xi, yi] = polygon[i]!;
      const [xj, yj] = polygon[j]!;
      if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) odd = !odd;
    }
    if (odd) found.push(index);
  }
  return found;
}

export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** Which boxes can be shown without touching an earlier one: the first has the right of way. */
export function apart(boxes: Box[]): boolean[] {
  const kept: Box[] = [];
  return boxes.map((box) => {
    const free = kept.every(
      (other) =>
        box.x + box.width < other.x ||
        other.x + other.width < box.x ||
        box.y + box.height < other.y ||
        other.y + other.height < box.y,
    );
    if (free) kept.push(box);
    return free;
  });
}

/** The level of zoom at which a box of `width` x `height` units fits into a window of so many pixels. */
export function fit(width: number, height: number, pixelsWide: number, pixelsHigh: number): number {
  return Math.log2(Math.min(pixelsWide / Math.max(width, 1e-6), pixelsHigh / Math.max(height, 1e-6)));
}
