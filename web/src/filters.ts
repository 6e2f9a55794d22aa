// Filters of rows, and the scales of sliders. This module uses no signals, so that it can be tested alone.

/** Code of a missing value. */
export const NO_CODE = 65535;

/** Values of a column: codes of its categories, or numbers. Missing numbers are NaN. */
export type Values = { codes: Uint16Array } | { numbers: Float64Array };

/** `missing` includes rows without a value. A bound of `null` includes all numbers, also infinite ones. */
export type Filter = { column: string; missing: boolean } & (
  | { type: "category"; codes: number[] }
  | { type: "range"; low: number | null; high: number | null }
);

/** Returns a function that tells whether the filter matches the row at an index. A new filter matches all rows. */
export function createMatcher(filter: Filter, values: Values): (index: number) => boolean {
  if (filter.type === "category" && "codes" in values) {
    const codes = new Set(filter.codes);
    return (index) => {
      const code = values.codes[index]!;
      return code === NO_CODE ? filter.missing : codes.has(code);
    };
  }
  if (filter.type === "range" && "numbers" in values) {
    const low = filter.low ?? -Infinity;
    const high = filter.high ?? Infinity;
    return (index) => {
      const value = values.numbers[index]!;
      return Number.isNaN(value) ? filter.missing : value >= low && value <= high;
    };
  }
  return () => true;
}

/** Returns the relative position of a value between `low` (0) and `high` (1). */
export function relativePosition(value: number, low: number, high: number): number {
  // Half of the difference, because the difference of two large numbers can be infinite.
  const span = high / 2 - low / 2;
  return span > 0 ? Math.min(1, Math.max(0, (value / 2 - low / 2) / span)) : 0;
}

/** Returns the number of steps of a slider: one per integer if there are few, otherwise 1,000. */
export function countSteps(low: number, high: number): number {
  const isSmallIntegerRange = Number.isInteger(low) && Number.isInteger(high) && high - low <= 1000;
  return isSmallIntegerRange ? Math.max(1, high - low) : 1000;
}

/** Returns the value at a step of a slider. Both ends are `null`, so that rounding cannot exclude the outermost value. */
export function valueAt(step: number, low: number, high: number): number | null {
  const steps = countSteps(low, high);
  if (step <= 0 || step >= steps) return null;
  const fraction = step / steps;
  return steps === high - low ? low + step : Math.min(high, Math.max(low, low * (1 - fraction) + high * fraction));
}
