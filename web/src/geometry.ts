// Geometry of points, polygons and boxes.

export type Point = [number, number];

/** Returns the indices of the visible points inside a polygon, by the even-odd rule. */
export function pointsInPolygon(positions: Float32Array, polygon: Point[], isVisible: (index: number) => boolean): number[] {
  if (polygon.length < 3) return [];
  const xs = polygon.map(([x]) => x);
  const ys = polygon.map(([, y]) => y);
  const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const indices: number[] = [];
  for (let index = 0; index < positions.length / 2; index++) {
    const x = positions[2 * index]!;
    const y = positions[2 * index + 1]!;
    if (x < left || x > right || y < low || y > high || !isVisible(index)) continue;
    let isInside = false;
    for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
      const [xi, yi] = polygon[i]!;
      const [xj, yj] = polygon[j]!;
      if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) isInside = !isInside;
    }
    if (isInside) indices.push(index);
  }
  return indices;
}

export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** Returns for each box whether it can be shown without overlapping an earlier shown box. */
export function withoutOverlaps(boxes: Box[]): boolean[] {
  const placed: Box[] = [];
  return boxes.map((box) => {
    const isFree = placed.every(
      (other) =>
        box.x + box.width < other.x ||
        other.x + other.width < box.x ||
        box.y + box.height < other.y ||
        other.y + other.height < box.y,
    );
    if (isFree) placed.push(box);
    return isFree;
  });
}

/** Returns the zoom level at which a box of `width` × `height` units fills a window of the given size in pixels. */
export function zoomToFit(width: number, height: number, pixelsWide: number, pixelsHigh: number): number {
  return Math.log2(Math.min(pixelsWide / Math.max(width, 1e-6), pixelsHigh / Math.max(height, 1e-6)));
}
