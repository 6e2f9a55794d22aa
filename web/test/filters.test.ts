import { expect, test } from "vitest";
import { admits, type Filter, NO_CODE, share, stepsOf, valueAt } from "../src/filters";

const range = (low: number | null, high: number | null, missing = true): Filter => ({ column: "x", type: "range", low, high, missing });

test("a range that nobody has narrowed lets all rows through, also missing, infinite and unrounded numbers", () => {
  const numbers = new Float64Array([0.1, 0.1 + 0.2, NaN, Infinity, -Infinity, 2 ** 63]);
  expect([...numbers.keys()].every(admits(range(null, null), { numbers }))).toBe(true);
});

test("a narrowed range hides what lies outside, and missing values only if asked to", () => {
  const numbers = new Float64Array([1, 2, 3, NaN]);
  const shown = (filter: Filter) => [...numbers.keys()].filter(admits(filter, { numbers }));
  expect(shown(range(2, null))).toEqual([1, 2, 3]);
  expect(shown(range(2, null, false))).toEqual([1, 2]);
  expect(shown(range(null, 1, false))).toEqual([0]);
});

test("missing categories follow their own box", () => {
  const codes = new Uint16Array([0, 1, NO_CODE]);
  const shown = (missing: boolean) => [0, 1, 2].filter(admits({ column: "x", type: "category", codes: [1], missing }, { codes }));
  expect(shown(true)).toEqual([1, 2]);
  expect(shown(false)).toEqual([1]);
});

test("the ends of a slider are open bounds, and steps between them rise", () => {
  for (const [low, high] of [[0, 11.285714285714286], [1, 5], [-1.7e308, 1.7e308], [4611686018427387904, 4611686018427999999]] as const) {
    const steps = stepsOf(low, high);
    expect(valueAt(0, low, high)).toBeNull();
    expect(valueAt(steps, low, high)).toBeNull();
    const inner = valueAt(Math.floor(steps / 2), low, high)!;
    expect(inner).toBeGreaterThanOrEqual(low);
    expect(inner).toBeLessThanOrEqual(high);
    if (high - low > 1 && high < 1e18) expect(share(inner, low, high)).toBeCloseTo(Math.floor(steps / 2) / steps, 1);
  }
});
