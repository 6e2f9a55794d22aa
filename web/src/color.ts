// Colours that people with any colour vision can tell apart: Okabe and Ito (2008) for categories, with their yellow darkened on
// white; a ramp of rising lightness contrast (cividis) for numbers.

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

/** What a value that is not there is drawn in. */
export const missing = (dark: boolean): RGB => (dark ? [84, 90, 100] : [190, 194, 200]);

/** The colour of category `code`; past eight they come again, paler. */
export function categorical(code: number, dark: boolean): RGB {
  const palette = dark ? DARK : LIGHT;
  const [red, green, blue] = palette[code % palette.length]!;
  const pale = Math.min(0.55, 0.28 * Math.floor(code / palette.length));
  const toward = dark ? 20 : 255;
  const mix = (value: number) => Math.round(value + (toward - value) * pale);
  return [mix(red), mix(green), mix(blue)];
}

function ramp(stops: RGB[], share: number): RGB {
  const place = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
  const left = stops[Math.floor(place)]!;
  const right = stops[Math.ceil(place)]!;
  const part = place - Math.floor(place);
  return [0, 1, 2].map((i) => Math.round(left[i]! + (right[i]! - left[i]!) * part)) as RGB;
}

/** A number from 0 (low) to 1 (high). On white the ramp's yellow end is darkened, on black its blue end is lightened. */
export function sequential(share: number, dark: boolean): RGB {
  return dark ? ramp(CIVIDIS, 0.22 + 0.78 * share) : ramp(CIVIDIS, 0.9 * share);
}

/** How near a text is to what was searched, from 0 to 1: from the background's grey to a strong warm colour. */
export function nearness(share: number, dark: boolean): RGB {
  return dark
    ? ramp([[52, 58, 68], [70, 80, 100], [150, 110, 70], [255, 150, 60], [255, 226, 120]], share)
    : ramp([[208, 213, 220], [196, 205, 216], [240, 170, 110], [213, 94, 0], [130, 40, 0]], share);
}

/** Which of two searches is nearer: -1 the first (blue), 0 neither, 1 the second (orange). */
export function versus(balance: number, dark: boolean): RGB {
  const neutral: RGB = dark ? [64, 70, 80] : [222, 225, 230];
  const first: RGB = dark ? [86, 180, 233] : [0, 114, 178];
  const second: RGB = dark ? [255, 140, 60] : [213, 94, 0];
  return balance < 0 ? ramp([neutral, first], -balance) : ramp([neutral, second], balance);
}

export const css = ([red, green, blue]: RGB): string => `rgb(${red} ${green} ${blue})`;
