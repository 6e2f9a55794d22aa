// Colors that are distinguishable with every type of color vision: Okabe and Ito (2008) for categories, with a darker yellow on a
// white background, and cividis, whose lightness increases steadily, for numbers.

export type RGB = [number, number, number];

const LIGHT: RGB[] = [
  [0, 114, 178],
  [213, 94, 0],
  [0, 158, 115],
  [204, 121, 167],
  [86, 180, 233],
  [176, 140, 0],
  [117, 79, 163],
  [120, 94, 60],
];
const DARK: RGB[] = [
  [86, 180, 233],
  [255, 140, 60],
  [40, 200, 150],
  [230, 150, 195],
  [160, 210, 250],
  [240, 228, 66],
  [178, 145, 235],
  [205, 175, 130],
];
const CIVIDIS: RGB[] = [
  [0, 34, 78],
  [42, 63, 108],
  [87, 92, 109],
  [124, 123, 120],
  [164, 156, 115],
  [208, 192, 91],
  [254, 232, 56],
];

/** Color of missing values. */
export const missing = (dark: boolean): RGB => (dark ? [84, 90, 100] : [190, 194, 200]);

/** Returns the color of a category. After eight categories the colors repeat in lighter shades. */
export function categorical(code: number, dark: boolean): RGB {
  const palette = dark ? DARK : LIGHT;
  const [red, green, blue] = palette[code % palette.length]!;
  const lightness = Math.min(0.55, 0.28 * Math.floor(code / palette.length));
  const background = dark ? 20 : 255;
  const mix = (value: number) => Math.round(value + (background - value) * lightness);
  return [mix(red), mix(green), mix(blue)];
}

function ramp(stops: RGB[], share: number): RGB {
  const position = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
  const left = stops[Math.floor(position)]!;
  const right = stops[Math.ceil(position)]!;
  const fraction = position - Math.floor(position);
  return [0, 1, 2].map((i) => Math.round(left[i]! + (right[i]! - left[i]!) * fraction)) as RGB;
}

/** Returns the color of a number from 0 to 1. The end of the ramp that is too similar to the background is omitted. */
export function sequential(share: number, dark: boolean): RGB {
  return dark ? ramp(CIVIDIS, 0.22 + 0.78 * share) : ramp(CIVIDIS, 0.9 * share);
}

/** Returns the color of a similarity to the query from 0 to 1: from gray to a strong warm color. */
export function nearness(share: number, dark: boolean): RGB {
  return dark
    ? ramp([[52, 58, 68], [70, 80, 100], [150, 110, 70], [255, 150, 60], [255, 226, 120]], share)
    : ramp([[208, 213, 220], [196, 205, 216], [240, 170, 110], [213, 94, 0], [130, 40, 0]], share);
}

/** Returns the color of a comparison of two searches: -1 is nearer to the first (blue), 1 is nearer to the second (orange). */
export function comparison(balance: number, dark: boolean): RGB {
  const neutral: RGB = dark ? [64, 70, 80] : [222, 225, 230];
  const first: RGB = dark ? [86, 180, 233] : [0, 114, 178];
  const second: RGB = dark ? [255, 140, 60] : [213, 94, 0];
  return balance < 0 ? ramp([neutral, first], -balance) : ramp([neutral, second], balance);
}

export const css = ([red, green, blue]: RGB): string => `rgb(${red} ${green} ${blue})`;
