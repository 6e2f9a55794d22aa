// Types of the server responses, and the only code that sends requests. Numeric arrays are raw little-endian bytes.

export type ColumnType = "category" | "number" | "time" | "boolean" | "text";

export interface Column {
  name: string;
  type: ColumnType;
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

export interface SearchResponse {
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

/** The server returned an error; `message` describes it. */
export class ApiError extends Error {}
/** The server did not respond. */
export class OfflineError extends Error {}

/** The server now has another data set, so rows of the page's data set are not available. */
export class ChangedError extends Error {}

const BASE = new URL("api/", document.baseURI);

/** Id of the data set that the page shows. Requests contain it, so that a server never returns rows of another data set. */
let dataset = "";
export function setDataset(id: string): void {
  dataset = id;
}

async function request(path: string, init?: RequestInit, withDataset = true): Promise<Response> {
  let response: Response;
  try {
    const headers = new Headers(init?.headers);
    if (withDataset && dataset) headers.set("x-umekomi-dataset", dataset);
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
      // The body is not an error object of Umekomi; the status is the message.
    }
    throw code === "dataset_changed" ? new ChangedError(message) : new ApiError(message);
  }
  return response;
}

async function json<T>(path: string, body?: unknown, signal?: AbortSignal, withDataset = true): Promise<T> {
  const init: RequestInit = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
  if (body !== undefined) init.headers = { "content-type": "application/json" };
  if (signal) init.signal = signal;
  return (await request(path, init, withDataset)).json() as Promise<T>;
}

function decodeBytes(base64: string): Uint8Array {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

function decodeCodes(base64: string): Uint16Array {
  return new Uint16Array(decodeBytes(base64).buffer);
}

export const api = {
  /** Returns the data set of the server, which can differ from that of the page. */
  meta: () => json<Meta>("meta", undefined, undefined, false),
  positions: async () => new Float32Array(await (await request("positions")).arrayBuffer()),
  codes: async (name: string) =>
    new Uint16Array(await (await request(`column?name=${encodeURIComponent(name)}`)).arrayBuffer()),
  numbers: async (name: string) =>
    new Float64Array(await (await request(`column?name=${encodeURIComponent(name)}`)).arrayBuffer()),
  text: async (index: number, signal: AbortSignal) =>
    (await json<{ text: string }>(`text?index=${index}`, undefined, signal)).text,
  row: (index: number) => json<Row>(`row?index=${index}`),
  search: async (query: { query?: string; index?: number }, signal?: AbortSignal): Promise<SearchResponse> => {
    const response = await json<Omit<SearchResponse, "scores"> & { scores: string }>("search", query, signal);
    return { ...response, scores: decodeBytes(response.scores) };
  },
  clusters: async (): Promise<Clusters> => {
    const response = await json<{ levels: Level[]; codes: string }>("clusters");
    return { levels: response.levels, codes: decodeCodes(response.codes) };
  },
  outliers: () => json<{ outliers: Outlier[] }>("outliers").then((response) => response.outliers),
  duplicates: () => json<{ groups: Brief[][] }>("duplicates").then((response) => response.groups),
  labels: async (labels: string[]): Promise<Labels> => {
    const response = await json<Omit<Labels, "codes"> & { codes: string }>("labels", { labels });
    return { ...response, codes: decodeCodes(response.codes) };
  },
  selection: (indices: number[]) => json<Selection>("selection", { indices }),
  csv: async (indices: number[], style: "spreadsheet" | "exact") => {
    const init = {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ indices, style }),
    };
    return (await request("selection.csv", init)).blob();
  },
};
