// What the page knows, as signals; the views read them and call the functions below.

import { batch, computed, effect, signal } from "@preact/signals";
import { api, ApiError, bind, ChangedError, type Clusters, type Labels, type Meta, OfflineError, type Row, type SearchAnswer, type Selection } from "./api";
import { categorical, missing, nearness, type RGB, sequential, versus } from "./color";
import { admits, type Filter, NO_CODE, share, type Values } from "./filters";
import { language, t } from "./i18n";

export type View = "search" | "clusters" | "outliers" | "duplicates" | "labels";
export const BY_CLUSTER = "\u0000cluster";

export const meta = signal<Meta | null>(null);
export const positions = signal<Float32Array>(new Float32Array());
export const skipped = signal<Uint8Array>(new Uint8Array()); // 1 for each row without a vector: it has no point
export const clusters = signal<Clusters | null>(null);
export const view = signal<View>("search");
export const problem = signal("");
export const offline = signal(false);
export const said = signal(""); // read aloud by screen readers
export const changed = signal(takeChanged()); // the page was loaded anew, since another set is served
export const dark = signal(startDark());
export const colorBy = signal(BY_CLUSTER);
export const row = signal<Row | null>(null);
export const hovered = signal<{ index: number; x: number; y: number; text: string } | null>(null);
export const selected = signal<number[]>([]);
export const selection = signal<Selection | null>(null);
export const labels = signal<Labels | null>(null);
export const fly = signal<{ indices: number[] } | null>(null); // where the map is asked to go

export interface Search {
  title: string;
  answer: SearchAnswer;
}
export const searches = signal<[Search | null, Search | null]>([null, null]);

const values = signal<ReadonlyMap<string, Values>>(new Map());
export const filters = signal<Filter[]>([]);

function takeChanged(): boolean {
  const was = sessionStorage.getItem("umekomi-changed") !== null;
  sessionStorage.removeItem("umekomi-changed");
  return was;
}

/** Another set is served at this address: nothing of the old one may stay on the page. */
function startAnew(): void {
  sessionStorage.setItem("umekomi-changed", "1");
  location.reload();
}

function startDark(): boolean {
  const stored = localStorage.getItem("umekomi-theme");
  return stored ? stored === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

effect(() => {
  document.documentElement.dataset.theme = dark.value ? "dark" : "light";
});
effect(() => {
  document.documentElement.lang = language.value;
});

/** Run something that asks the server; its failure is shown, and a server that went away is waited for. */
export async function attempt(work: () => Promise<void>): Promise<void> {
  try {
    await work();
    problem.value = "";
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") return;
    if (error instanceof OfflineError) waitForServer();
    else if (error instanceof ChangedError) startAnew();
    else if (error instanceof ApiError) problem.value = error.message;
    else throw error;
  }
}

let waiting = false;
function waitForServer(): void {
  offline.value = true;
  if (waiting) return;
  waiting = true;
  const knock = async (delay: number) => {
    try {
      const now = await api.meta();
      waiting = false;
      offline.value = false;
      said.value = t("back");
      if (!meta.value) await load();
      else if (meta.value.dataset !== now.dataset) startAnew();
    } catch {
      setTimeout(() => void knock(Math.min(delay * 1.5, 5000)), delay);
    }
  };
  setTimeout(() => void knock(500), 500);
}

export async function load(): Promise<void> {
  await attempt(async () => {
    const about = await api.meta();
    bind(about.dataset);
    const found = await api.positions();
    batch(() => {
      meta.value = about;
      skipped.value = Uint8Array.from({ length: about.rows }, (_, index) => Number(Number.isNaN(found[2 * index])));
      positions.value = found.map((value) => (Number.isNaN(value) ? 0 : value));
      document.title = `${about.name} · Umekomi`;
    });
    if (about.rows > 0) clusters.value = await api.clusters();
  });
}

/** A column's values, fetched once. */
export async function need(column: string): Promise<void> {
  const known = meta.value?.columns.find((candidate) => candidate.name === column);
  if (!known || values.value.has(column)) return;
  await attempt(async () => {
    const found: Values =
      known.type === "number" || known.type === "time"
        ? { numbers: await api.numbers(column) }
        : { codes: await api.codes(column) };
    values.value = new Map(values.value).set(column, found);
  });
}

export async function chooseColor(column: string): Promise<void> {
  if (column !== BY_CLUSTER) await need(column);
  batch(() => {
    colorBy.value = column;
    labels.value = null;
    searches.value = [null, null];
  });
}

// ---------------------------------------------------------------- searching

const pending: [AbortController | null, AbortController | null] = [null, null];

export async function search(which: 0 | 1, asked: { query?: string; index?: number }, title: string): Promise<void> {
  pending[which]?.abort();
  const abort = new AbortController();
  pending[which] = abort;
  await attempt(async () => {
    const answer = await api.search(asked, abort.signal);
    const next: typeof searches.value = [...searches.value];
    next[which] = { title, answer };
    batch(() => {
      searches.value = next;
      labels.value = null;
      said.value = t("results", { n: answer.hits.length });
    });
  });
}

export function forget(which: 0 | 1): void {
  pending[which]?.abort();
  const next: typeof searches.value = [...searches.value];
  next[which] = null;
  searches.value = next;
}

export async function open(index: number): Promise<void> {
  await attempt(async () => {
    const found = await api.row(index);
    batch(() => {
      row.value = found;
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
  await attempt(async () => {
    const found = await api.selection(indices);
    batch(() => {
      selected.value = indices;
      selection.value = found;
      row.value = null;
      said.value = t("selected", { n: found.n });
    });
  });
}

// ---------------------------------------------------------------- what is drawn

/** 1 for each point that the filters let through. */
export const shown = computed<Uint8Array>(() => {
  const n = positions.value.length / 2;
  const mask = skipped.value.map((one) => 1 - one);
  for (const filter of filters.value) {
    const column = values.value.get(filter.column);
    if (!column) continue;
    const passes = admits(filter, column);
    for (let i = 0; i < n; i++) if (!passes(i)) mask[i] = 0;
  }
  return mask;
});

export const nShown = computed(() => shown.value.reduce((sum, one) => sum + one, 0));

export interface Legend {
  title: string;
  items: { label: string; color: RGB }[];
  ramp: { low: string; high: string; colors: RGB[] } | null;
}

export interface Paint {
  colors: Uint8Array; // RGBA, a point after the other
  sizes: Float32Array; // a factor for each point
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

/** The share of the way from the set's ordinary nearness to its greatest: most points must stay in the background. */
const lit = (score: number): number => Math.pow(Math.max(0, score - 96) / 159, 1.6);

function bySearch(n: number, isDark: boolean): Paint | null {
  const [first, second] = searches.value;
  const only = first ?? second;
  if (!only) return null;
  if (first && second) {
    const [left, right] = [first.answer.scores, second.answer.scores];
    const balance = (index: number) => {
      const [a, b] = [lit(left[index]!), lit(right[index]!)];
      return Math.max(-1, Math.min(1, a > b ? -a : b));
    };
    const legend: Legend = {
      title: "",
      items: [],
      ramp: {
        low: first.title,
        high: second.title,
        colors: STEPS.map((step) => versus(2 * step - 1, isDark)),
      },
    };
    return paint(n, (index) => versus(balance(index), isDark), legend, (index) => 0.8 + Math.abs(balance(index)) * 1.4);
  }
  const scores = only.answer.scores;
  const legend: Legend = {
    title: only.title,
    items: [],
    ramp: { low: t("legendFar"), high: t("legendNear"), colors: STEPS.map((step) => nearness(step, isDark)) },
  };
  return paint(n, (i) => nearness(lit(scores[i]!), isDark), legend, (i) => 0.8 + lit(scores[i]!) * 1.6);
}

function byCodes(codes: Uint16Array, names: string[], title: string, isDark: boolean, ordered = false): Paint {
  const last = Math.max(names.length - 1, 1);
  const colors = names.map((_, code) => (ordered ? sequential(code / last, isDark) : categorical(code, isDark)));
  const none = missing(isDark);
  const items = names.map((label, code) => ({ label: shorten(label) || t("missing"), color: colors[code]! }));
  if (codes.includes(NO_CODE)) items.push({ label: t("missing"), color: none });
  return paint(codes.length, (index) => colors[codes[index]!] ?? none, { title, items, ramp: null });
}

/** The colors of the points, and what they mean. */
export const painted = computed<Paint>(() => {
  const n = positions.value.length / 2;
  const isDark = dark.value;
  const found = bySearch(n, isDark);
  if (found) return found;
  const plain = paint(n, () => missing(isDark), { title: "", items: [], ramp: null });
  if (labels.value) {
    const names = labels.value.counts.map(({ label, count }) => `${label} (${count.toLocaleString()})`);
    return byCodes(labels.value.codes, names, t("labels"), isDark);
  }
  if (colorBy.value === BY_CLUSTER) {
    const level = clusters.value?.levels[0];
    if (!clusters.value || !level) return plain;
    return byCodes(clusters.value.codes, level.clusters.map(({ name }) => name), t("clusters"), isDark);
  }
  const about = meta.value?.columns.find(({ name }) => name === colorBy.value);
  const column = values.value.get(colorBy.value);
  if (!about || !column) return plain;
  if ("codes" in column) {
    return byCodes(column.codes, about.categories.map(({ value }) => value), about.name, isDark, about.ordered);
  }
  const [low, high] = [about.low ?? 0, about.high ?? 1];
  const none = missing(isDark);
  const color = (index: number): RGB => {
    const value = column.numbers[index]!;
    return Number.isNaN(value) ? none : sequential(share(value, low, high), isDark);
  };
  const colors = STEPS.map((step) => sequential(step, isDark));
  const legend: Legend = {
    title: about.name,
    items: [],
    ramp: { low: show(low, about.type), high: show(high, about.type), colors },
  };
  return paint(n, color, legend);
});

/** A number or a time of a column, for people. */
export function show(value: number, type: string): string {
  if (type === "time") {
    const date = new Date(value * 1000);
    // Browsers know dates of some 270,000 years on either side of 1970.
    if (Number.isNaN(date.getTime())) return `${value.toExponential(3)} s`;
    return date.toLocaleDateString(language.value, { timeZone: "UTC", ...(value < 0 ? { era: "short" } : {}) });
  }
  return value.toLocaleString(language.value, { maximumSignificantDigits: 4 });
}

/** A text cut to a length that a list or a legend can hold. */
export function shorten(text: string, length = 60): string {
  return text.length > length ? `${text.slice(0, length)}…` : text;
}
