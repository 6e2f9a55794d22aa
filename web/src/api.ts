// Types of the server responses, and the only code that sends requests. Numeric arrays are raw little-endian bytes.

export type ColumnKind = "category" | "number" | "time" | "boolean" | "text";

export interface Column {
  name: string;
  type: ColumnKind;
  categories: { value: string; count: number }[];
  low: number | null;
  high: number | null;
  ordered: boolean;
  missing: number;
}

export interface Meta {
  dataset: string;
  name: string;
  rows: number;
  skipped: number;
  model: string;
  fingerprint: string;
  dims: number;
  note: string;
  searchable: boolean;
  search_problem: string;
  columns: Column[];
}

export interface Brief {
  index: number;
  text: string;
  score: number;
}

export interface Row {
  index: number;
  text: string;
  record: Record<string, unknown>;
  neighbors: Brief[];
}

export interface SearchAnswer {
  hits: Brief[];
  scores: Uint8Array;
  low: number;
  high: number;
}

export interface Cluster {
  cluster: number;
  name: string;
  size: number;
  x: number;
  y: number;
  terms: string[];
  central: Brief[];
  means: Record<string, number>;
}

export interface Level {
  k: number;
  clusters: Cluster[];
}

export interface Clusters {
  levels: Level[];
  codes: Uint16Array;
}

export interface Outlier extends Brief {
  p_value: number;
}

export interface Labels {
  codes: Uint16Array;
  counts: { label: string; count: number; examples: Brief[] }[];
}

export interface Selection {
  n: number;
  rows: { index: number; text: string; record: Record<string, unknown> }[];
  words: { term: string; share: number; elsewhere: number }[];
}

/** The server answered with an error object; `message` is its sentence. */
export class ApiError extends Error {}
/** The server did not answer at all. */
export class OfflineError extends Error {}

/** This address serves another data set now: rows of the page's set cannot be asked for. */
export class ChangedError extends Error {}

const BASE = new URL("api/", document.baseURI);

/** The data set that the page shows. Every request names it, so that a server never answers with rows of another set. */
let dataset = "";
export function bind(id: string): void {
  dataset = id;
}

async function ask(path: string, init?: RequestInit, bound = true): Promise<Response> {
  let response: Response;
  try {
    const headers = new Headers(init?.headers);
    if (bound && dataset) headers.set("x-umekomi-dataset", dataset);
    response = await fetch(new URL(path, BASE), { ...init, headers, cache: "no-store" });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new OfflineError("offline");
  }
  if (!response.ok) {
    let message = `${response.status} ${response.statusText}`;
    let code = "";
    try {
      ({ message, code } = (await response.json()).error);
    } catch {
      // Not our error object: the status says it.
    }
    throw code === "dataset_changed" ? new ChangedError(message) : new ApiError(message);
  }
  return response;
}

async function json<T>(path: string, body?: unknown, signal?: AbortSignal, bound = true): Promise<T> {
  const init: RequestInit = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
  if (body !== undefined) init.headers = { "content-type": "application/json" };
  if (signal) init.signal = signal;
  return (await ask(path, init, bound)).json() as Promise<T>;
}

function bytes(base64: string): Uint8Array {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

function words(base64: string): Uint16Array {
  return new Uint16Array(bytes(base64).buffer);
}

export const api = {
  /** What is served now, whatever the page shows. */
  meta: () => json<Meta>("meta", undefined, undefined, false),
  positions: async () => new Float32Array(await (await ask("positions")).arrayBuffer()),
  codes: async (name: string) =>
    new Uint16Array(await (await ask(`column?name=${encodeURIComponent(name)}`)).arrayBuffer()),
  numbers: async (name: string) =>
    new Float64Array(await (await ask(`column?name=${encodeURIComponent(name)}`)).arrayBuffer()),
  text: async (index: number, signal: AbortSignal) =>
    (await json<{ text: string }>(`text?index=${index}`, undefined, signal)).text,
  row: (index: number) => json<Row>(`row?index=${index}`),
  search: async (asked: { query?: string; index?: number }, signal?: AbortSignal): Promise<SearchAnswer> => {
    const answer = await json<Omit<SearchAnswer, "scores"> & { scores: string }>("search", asked, signal);
    return { ...answer, scores: bytes(answer.scores) };
  },
  clusters: async (): Promise<Clusters> => {
    const answer = await json<{ levels: Level[]; codes: string }>("clusters");
    return { levels: answer.levels, codes: words(answer.codes) };
  },
  outliers: () => json<{ outliers: Outlier[] }>("outliers").then((answer) => answer.outliers),
  duplicates: () => json<{ groups: Brief[][] }>("duplicates").then((answer) => answer.groups),
  labels: async (labels: string[]): Promise<Labels> => {
    const answer = await json<Omit<Labels, "codes"> & { codes: string }>("labels", { labels });
    return { ...answer, codes: words(answer.codes) };
  },
  selection: (indices: number[]) => json<Selection>("selection", { indices }),
  csv: async (indices: number[], style: "spreadsheet" | "exact") => {
    const init = {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ indices, style }),
    };
    return (await ask("selection.csv", init)).blob();
  },
};
