import { expect, test } from "vitest";
import { categorical, comparison } from "../src/color";
import { type Point, pointsInPolygon, withoutOverlaps, zoomToFit } from "../src/geometry";

const square: Point[] = [[0, 0], [2, 0], [2, 2], [0, 2]];

test("a lasso selects the visible points inside it", () => {
  const positions = new Float32Array([1, 1, 3, 1, 0.5, 1.5, -1, -1]);
  expect(pointsInPolygon(positions, square, () => true)).toEqual([0, 2]);
  expect(pointsInPolygon(positions, square, (index) => index !== 0)).toEqual([2]);
});

test("a lasso with two corners selects nothing", () => {
  expect(pointsInPolygon(new Float32Array([1, 1]), square.slice(0, 2), () => true)).toEqual([]);
});

test("a lasso does not select points in a notch", () => {
  const notched: Point[] = [[0, 0], [4, 0], [4, 4], [2, 1], [0, 4]];
  expect(pointsInPolygon(new Float32Array([2, 3, 1, 1]), notched, () => true)).toEqual([1]);
});

test("the first of two overlapping boxes is shown", () => {
  const box = { x: 0, y: 0, width: 10, height: 10 };
  expect(withoutOverlaps([box, { ...box, x: 5 }, { ...box, x: 20 }])).toEqual([true, false, true]);
});

test("a zoom of 1 doubles the size", () => {
  expect(zoomToFit(100, 50, 200, 200)).toBe(1);
});

test("the first eight categories have different colors, and the ninth has a lighter one", () => {
  const colors = Array.from({ length: 9 }, (_, code) => categorical(code, false).join());
  expect(new Set(colors).size).toBe(9);
});

test("a point that is equally near to both searches is gray", () => {
  const [red, green, blue] = comparison(0, false);
  expect(Math.max(red, green, blue) - Math.min(red, green, blue)).toBeLessThan(12);
});
