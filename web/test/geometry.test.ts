import { expect, test } from "vitest";
import { categorical, versus } from "../src/color";
import { apart, fit, inside, type Point } from "../src/geometry";

const square: Point[] = [[0, 0], [2, 0], [2, 2], [0, 2]];

test("a lasso holds what lies inside it and is shown", () => {
  const positions = new Float32Array([1, 1, 3, 1, 0.5, 1.5, -1, -1]);
  expect(inside(positions, square, () => true)).toEqual([0, 2]);
  expect(inside(positions, square, (index) => index !== 0)).toEqual([2]);
});

test("a lasso of two corners holds nothing", () => {
  expect(inside(new Float32Array([1, 1]), square.slice(0, 2), () => true)).toEqual([]);
});

test("a lasso's notch lets go of what lies in it", () => {
  const notched: Point[] = [[0, 0], [4, 0], [4, 4], [2, 1], [0, 4]];
  expect(inside(new Float32Array([2, 3, 1, 1]), notched, () => true)).toEqual([1]);
});

test("of two names that touch the first is shown", () => {
  const box = { x: 0, y: 0, width: 10, height: 10 };
  expect(apart([box, { ...box, x: 5 }, { ...box, x: 20 }])).toEqual([true, false, true]);
});

test("a zoom of 1 doubles", () => {
  expect(fit(100, 50, 200, 200)).toBe(1);
});

test("the eight first categories have eight colors, the ninth a paler first", () => {
  const colors = Array.from({ length: 9 }, (_, code) => categorical(code, false).join());
  expect(new Set(colors).size).toBe(9);
});

test("two searches that are equally near leave a point grey", () => {
  const [red, green, blue] = versus(0, false);
  expect(Math.max(red, green, blue) - Math.min(red, green, blue)).toBeLessThan(12);
});
