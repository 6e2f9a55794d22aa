// Which rows a filter lets through, and where a value lies on a scale. No signals here, so that it can be tested alone.

/** The code of a value that is missing. */
export const NO_CODE = 65535;

/** A column's values: codes of its categories, or numbers (NaN where one is missing). */
export type Values = { codes: Uint16Array } | { numbers: Float64Array };

/** `missing` lets rows without a value through; a bound that is `null` lets everything through, also infinite numbers. */
export type Filter = { column: string; missing: boolean } & (
  | { type: "category"; codes: number[] }
  | { type: "range"; low: number | null; high: number | null }
);

/** Returns whether a filter shows the row at an index. An unchanged filter shows all rows. */
export function admits(filter: Filter, values: Values): (index: number) => boolean {
  if (filter.type === "category" && "codes" in values) {
    const wanted = new Set(filter.codes);
    return (index) => {
      const code = values.codes[index]!;
      return code === NO_CODE ? filter.missing : wanted.has(code);
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

/** How far a value lies from `low` (0) to `high` (1); halves, since the difference of two large numbers may be infinite. */
export function share(value: number, low: number, high: number): number {
  const span = high / 2 - low / 2;
  return span > 0 ? Math.min(1, Math.max(0, (value / 2 - low / 2) / span)) : 0;
}

/** The number of steps of a slider: one for each whole number where these are few. */
export function stepsOf(low: number, high: number): number {
  const whole = Number.isInteger(low) && Number.isInteger(high) && high - low <= 1000;
  return whole ? Math.max(1, high - low) : 1000;
}

/** The value at a step of a slider. The ends are open bounds: they must not hide the outermost value by rounding. */
export function valueAt(step: number, low: number, high: number): number | null {
  const steps = stepsOf(low, high);
  if (step <= 0 || step >= steps) return null;
  const part = step / steps;
  return steps === high - low ? low + step : Math.min(high, Math.max(low, low * (1 - part) + high * part));
}
