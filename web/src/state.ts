// State of the page as signals, and the functions that change it.

import { batch, computed, effect, signal } from "@preact/signals";
import { api, ApiError, ChangedError, type Clusters, type Labels, type Meta, OfflineError, type Row, type SearchResponse, type Selection, setDataset } from "./api";
import { categorical, comparison, missing, nearness, type RGB, sequential } from "./color";
import { createMatcher, type Filter, NO_CODE, relativePosition, type Values } from "./filters";
import { language, t } from "./i18n";

export type View = "search" | "clusters" | "outliers" | "duplicates" | "labels";
export const BY_CLUSTER = "\u0000cluster";

export const meta = signal<Meta | null>(null);
export const positions = signal<Float32Array>(new Float32Array());
export const skipped = signal<Uint8Array>(new Uint8Array()); // 1 for each row without a usable vector, which has no point
export const clusters = signal<Clusters | null>(null);
export const view = signal<View>("search");
export const problem = signal("");
export const offline = signal(false);
export const announcement = signal(""); // for screen readers
export const reloaded = signal(takeReloaded()); // the page was reloaded because the server has another data set
export const dark = signal(prefersDark());
export const colorBy = signal(BY_CLUSTER);
export const row = signal<Row | null>(null);
export const hovered = signal<{ index: number; x: number; y: number; text: string } | null>(null);
export const selected = signal<number[]>([]);
export const selection = signal<Selection | null>(null);
export const labels = signal<Labels | null>(null);
export const focusTarget = signal<{ indices: number[] } | null>(null); // points that the map moves to

export interface Search {
  title: string;
  response: SearchResponse;
}
export const searches = signal<[Search | null, Search | null]>([null, null]);

const values = signal<ReadonlyMap<string, Values>>(new Map());
export const filters = signal<Filter[]>([]);

function takeReloaded(): boolean {
  const isReloaded = sessionStorage.getItem("umekomi-reloaded") !== null;
  sessionStorage.removeItem("umekomi-reloaded");
  return isReloaded;
}

/** Reloads the page, because the server has another data set. */
function reload(): void {
  sessionStorage.setItem("umekomi-reloaded", "1");
  location.reload();
}

function prefersDark(): boolean {
  const stored = localStorage.getItem("umekomi-theme");
  return stored ? stored === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

effect(() => {
  document.documentElement.dataset.theme = dark.value ? "dark" : "light";
});
effect(() => {
  document.documentElement.lang = language.value;
});

/** Runs a function that sends requests. Shows its errors, and waits for the server if it does not respond. */
export async function handleErrors(run: () => Promise<void>): Promise<void> {
  try {
    await run();
    problem.value = "";
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") return;
    if (error instanceof OfflineError) waitForServer();
    else if (error instanceof ChangedError) reload();
    else if (error instanceof ApiError) problem.value = error.message;
    else throw error;
  }
}

let isWaiting = false;
function waitForServer(): void {
  offline.value = true;
  if (isWaiting) return;
  isWaiting = true;
  const retry = async (delay: number) => {
    try {
      const current = await api.meta();
      isWaiting = false;
      offline.value = false;
      announcement.value = t("back");
      if (!meta.value) await load();
      else if (meta.value.dataset !== current.dataset) reload();
    } catch {
      setTimeout(() => void retry(Math.min(delay * 1.5, 5000)), delay);
    }
  };
  setTimeout(() => void retry(500), 500);
}

export async function load(): Promise<void> {
  await handleErrors(async () => {
    const newMeta = await api.meta();
    setDataset(newMeta.dataset);
    const newPositions = await api.positions();
    batch(() => {
      meta.value = newMeta;
      skipped.value = Uint8Array.from({ length: newMeta.rows }, (_, index) => Number(Number.isNaN(newPositions[2 * index])));
      positions.value = newPositions.map((value) => (Number.isNaN(value) ? 0 : value));
      document.title = `${newMeta.name} · Umekomi`;
    });
    if (newMeta.rows > 0) clusters.value = await api.clusters();
  });
}

/** Loads the values of a column, once. */
export async function loadColumn(name: string): Promise<void> {
  const column = meta.value?.columns.find((candidate) => candidate.name === name);
  if (!column || values.value.has(name)) return;
  await handleErrors(async () => {
    const columnValues: Values =
      column.type === "number" || column.type === "time"
        ? { numbers: await api.numbers(name) }
        : { codes: await api.codes(name) };
    values.value = new Map(values.value).set(name, columnValues);
  });
}

export async function chooseColor(column: string): Promise<void> {
  if (column !== BY_CLUSTER) await loadColumn(column);
  batch(() => {
    colorBy.value = column;
    labels.value = null;
    searches.value = [null, null];
  });
}

const pending: [AbortController | null, AbortController | null] = [null, null];

export async function search(slot: 0 | 1, query: { query?: string; index?: number }, title: string): Promise<void> {
  pending[slot]?.abort();
  const abort = new AbortController();
  pending[slot] = abort;
  await handleErrors(async () => {
    const response = await api.search(query, abort.signal);
    const next: typeof searches.value = [...searches.value];
    next[slot] = { title, response };
    batch(() => {
      searches.value = next;
      labels.value = null;
      announcement.value = t("results", { n: response.hits.length });
    });
  });
}

export function clearSearch(slot: 0 | 1): void {
  pending[slot]?.abort();
  const next: typeof searches.value = [...searches.value];
  next[slot] = null;
  searches.value = next;
}

export async function open(index: number): Promise<void> {
  await handleErrors(async () => {
    const newRow = await api.row(index);
    batch(() => {
      row.value = newRow;
      selection.value = null;
      selected.value = [];
    });
  });
}

export async function select(indices: number[]): Promise<void> {
  if (!indices.length) {
    batch(() => {
      selected.value = [];
      selection.value = null;
    });
    return;
  }
  await handleErrors(async () => {
    const newSelection = await api.selection(indices);
    batch(() => {
      selected.value = indices;
      selection.value = newSelection;
      row.value = null;
      announcement.value = t("selected", { n: newSelection.n });
    });
  });
}

/** 1 for each point that matches all filters. */
export const visible = computed<Uint8Array>(() => {
  const n = positions.value.length / 2;
  const mask = skipped.value.map((value) => 1 - value);
  for (const filter of filters.value) {
    const column = values.value.get(filter.column);
    if (!column) continue;
    const matches = createMatcher(filter, column);
    for (let i = 0; i < n; i++) if (!matches(i)) mask[i] = 0;
  }
  return mask;
});

export const visibleCount = computed(() => visible.value.reduce((sum, value) => sum + value, 0));

export interface Legend {
  title: string;
  items: { label: string; color: RGB }[];
  ramp: { low: string; high: string; colors: RGB[] } | null;
}

export interface Paint {
  colors: Uint8Array; // RGBA of each point
  sizes: Float32Array; // factor of each point's radius
  legend: Legend;
}

function paint(n: number, color: (index: number) => RGB, legend: Legend, size?: (index: number) => number): Paint {
  const colors = new Uint8Array(4 * n);
  const sizes = new Float32Array(n).fill(1);
  for (let index = 0; index < n; index++) {
    colors.set(color(index), 4 * index);
    colors[4 * index + 3] = 225;
    if (size) sizes[index] = size(index);
  }
  return { colors, sizes, legend };
}

const STEPS = Array.from({ length: 24 }, (_, step) => step / 23);

/** Returns the intensity of a score. Typical scores have an intensity near 0, so that most points stay in the background. */
const intensity = (score: number): number => Math.pow(Math.max(0, score - 96) / 159, 1.6);

function paintSearches(n: number, isDark: boolean): Paint | null {
  const [first, second] = searches.value;
  const single = first ?? second;
  if (!single) return null;
  if (first && second) {
    const [left, right] = [first.response.scores, second.response.scores];
    const balance = (index: number) => {
      const [a, b] = [intensity(left[index]!), intensity(right[index]!)];
      return Math.max(-1, Math.min(1, a > b ? -a : b));
    };
    const legend: Legend = {
      title: "",
      items: [],
      ramp: {
        low: first.title,
        high: second.title,
        colors: STEPS.map((step) => comparison(2 * step - 1, isDark)),
      },
    };
    return paint(n, (index) => comparison(balance(index), isDark), legend, (index) => 0.8 + Math.abs(balance(index)) * 1.4);
  }
  const scores = single.response.scores;
  const legend: Legend = {
    title: single.title,
    items: [],
    ramp: { low: t("legendFar"), high: t("legendNear"), colors: STEPS.map((step) => nearness(step, isDark)) },
  };
  return paint(n, (i) => nearness(intensity(scores[i]!), isDark), legend, (i) => 0.8 + intensity(scores[i]!) * 1.6);
}

function paintCodes(codes: Uint16Array, names: string[], title: string, isDark: boolean, ordered = false): Paint {
  const last = Math.max(names.length - 1, 1);
  const colors = names.map((_, code) => (ordered ? sequential(code / last, isDark) : categorical(code, isDark)));
  const missingColor = missing(isDark);
  const items = names.map((label, code) => ({ label: shorten(label) || t("missing"), color: colors[code]! }));
  if (codes.includes(NO_CODE)) items.push({ label: t("missing"), color: missingColor });
  return paint(codes.length, (index) => colors[codes[index]!] ?? missingColor, { title, items, ramp: null });
}

/** Colors and sizes of the points, and the legend. */
export const painted = computed<Paint>(() => {
  const n = positions.value.length / 2;
  const isDark = dark.value;
  const searchPaint = paintSearches(n, isDark);
  if (searchPaint) return searchPaint;
  const uniform = paint(n, () => missing(isDark), { title: "", items: [], ramp: null });
  if (labels.value) {
    const names = labels.value.counts.map(({ label, count }) => `${label} (${count.toLocaleString()})`);
    return paintCodes(labels.value.codes, names, t("labels"), isDark);
  }
  if (colorBy.value === BY_CLUSTER) {
    const level = clusters.value?.levels[0];
    if (!clusters.value || !level) return uniform;
    return paintCodes(clusters.value.codes, level.clusters.map(({ name }) => name), t("clusters"), isDark);
  }
  const column = meta.value?.columns.find(({ name }) => name === colorBy.value);
  const columnValues = values.value.get(colorBy.value);
  if (!column || !columnValues) return uniform;
  if ("codes" in columnValues) {
    return paintCodes(columnValues.codes, column.categories.map(({ value }) => value), column.name, isDark, column.ordered);
  }
  const [low, high] = [column.low ?? 0, column.high ?? 1];
  const missingColor = missing(isDark);
  const color = (index: number): RGB => {
    const value = columnValues.numbers[index]!;
    return Number.isNaN(value) ? missingColor : sequential(relativePosition(value, low, high), isDark);
  };
  const colors = STEPS.map((step) => sequential(step, isDark));
  const legend: Legend = {
    title: column.name,
    items: [],
    ramp: { low: formatValue(low, column.type), high: formatValue(high, column.type), colors },
  };
  return paint(n, color, legend);
});

/** Formats a number or a time of a column. */
export function formatValue(value: number, type: string): string {
  if (type === "time") {
    const date = new Date(value * 1000);
    // Dates in JavaScript cover about 270,000 years before and after 1970.
    if (Number.isNaN(date.getTime())) return `${value.toExponential(3)} s`;
    return date.toLocaleDateString(language.value, { timeZone: "UTC", ...(value < 0 ? { era: "short" } : {}) });
  }
  return value.toLocaleString(language.value, { maximumSignificantDigits: 4 });
}

/** Truncates a text for a list or a legend. */
export function shorten(text: string, length = 60): string {
  return text.length > length ? `${text.slice(0, length)}…` : text;
}
