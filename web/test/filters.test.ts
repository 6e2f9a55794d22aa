import { expect, test } from "vitest";
import { countSteps, createMatcher, type Filter, NO_CODE, relativePosition, valueAt } from "../src/filters";

const range = (low: number | null, high: number | null, missing = true): Filter => ({ column: "x", type: "range", low, high, missing });

test("a new range matches all rows, including missing, infinite and unrounded numbers", () => {
  const numbers = new Float64Array([0.1, 0.1 + 0.2, NaN, Infinity, -Infinity, 2 ** 63]);
  expect([...numbers.keys()].every(createMatcher(range(null, null), { numbers }))).toBe(true);
});

test("a range excludes values outside, and missing values only if they are not included", () => {
  const numbers = new Float64Array([1, 2, 3, NaN]);
  const matches = (filter: Filter) => [...numbers.keys()].filter(createMatcher(filter, { numbers }));
  expect(matches(range(2, null))).toEqual([1, 2, 3]);
  expect(matches(range(2, null, false))).toEqual([1, 2]);
  expect(matches(range(null, 1, false))).toEqual([0]);
});

test("a separate option includes missing categories", () => {
  const codes = new Uint16Array([0, 1, NO_CODE]);
  const matches = (missing: boolean) => [0, 1, 2].filter(createMatcher({ column: "x", type: "category", codes: [1], missing }, { codes }));
  expect(matches(true)).toEqual([1, 2]);
  expect(matches(false)).toEqual([1]);
});

test("the ends of a slider are unbounded, and values between them increase", () => {
  for (const [low, high] of [[0, 11.285714285714286], [1, 5], [-1.7e308, 1.7e308], [4611686018427387904, 4611686018427999999]] as const) {
    const steps = countSteps(low, high);
    expect(valueAt(0, low, high)).toBeNull();
    expect(valueAt(steps, low, high)).toBeNull();
    const inner = valueAt(Math.floor(steps / 2), low, high)!;
    expect(inner).toBeGreaterThanOrEqual(low);
    expect(inner).toBeLessThanOrEqual(high);
    if (high - low > 1 && high < 1e18) expect(relativePosition(inner, low, high)).toBeCloseTo(Math.floor(steps / 2) / steps, 1);
  }
});
