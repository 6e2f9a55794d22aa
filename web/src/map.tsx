// The map: all points, drawn by deck.gl, with the clusters' names over it as ordinary text.

import { Deck, OrthographicView, type OrthographicViewState, type PickingInfo } from "@deck.gl/core";
import { DataFilterExtension } from "@deck.gl/extensions";
import { ScatterplotLayer } from "@deck.gl/layers";
import { computed, signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { api, type Cluster } from "./api";
import { apart, fit, inside, type Point } from "./geometry";
import { t } from "./i18n";
import { attempt, clusters, dark, fly, hovered, meta, open, painted, positions, row, searches, select, selected, shorten, shown, skipped } from "./state";

interface Camera {
  x: number;
  y: number;
  zoom: number;
}

export const lassoing = signal(false);
/** Whether this browser can draw the points. Without WebGL the page says so, and all else works. */
export const drawable = signal(canDraw());

function canDraw(): boolean {
  try {
    return document.createElement("canvas").getContext("webgl2") !== null;
  } catch {
    return false;
  }
}
const camera = signal<Camera>({ x: 0, y: 0, zoom: 0 });
const size = signal<[number, number]>([1, 1]);
export const lens = {
  by: (steps: number) => (camera.value = { ...camera.value, zoom: camera.value.zoom + steps }),
  all: () => (camera.value = whole()),
};

/** A camera that shows these points (all, by default). */
function whole(indices?: number[]): Camera {
  const all = positions.value;
  const chosen = (indices ?? Array.from({ length: all.length / 2 }, (_, index) => index)).filter((index) => !skipped.value[index]);
  if (!chosen.length) return { x: 0, y: 0, zoom: 0 };
  let [left, right, low, high] = [Infinity, -Infinity, Infinity, -Infinity];
  for (const index of chosen) {
    left = Math.min(left, all[2 * index]!);
    right = Math.max(right, all[2 * index]!);
    low = Math.min(low, all[2 * index + 1]!);
    high = Math.max(high, all[2 * index + 1]!);
  }
  const [wide, tall] = size.value;
  const margin = Math.max(24, Math.min(wide, tall) * 0.07);
  const zoom = fit(right - left, high - low, wide - 2 * margin, tall - 2 * margin);
  const full = indices ? whole().zoom : zoom;
  return { x: (left + right) / 2, y: (low + high) / 2, zoom: indices ? Math.min(zoom, full + 2.2) : zoom };
}

/** Where a point of the map is on the screen; up is up. */
function project(x: number, y: number): Point {
  const scale = 2 ** camera.value.zoom;
  return [size.value[0] / 2 + (x - camera.value.x) * scale, size.value[1] / 2 - (y - camera.value.y) * scale];
}

function unproject([x, y]: Point): Point {
  const scale = 2 ** camera.value.zoom;
  return [camera.value.x + (x - size.value[0] / 2) / scale, camera.value.y - (y - size.value[1] / 2) / scale];
}

/** The size of a point in pixels: small where there are many, larger as one zooms in. */
function radius(n: number): number {
  const deeper = Math.max(0, camera.value.zoom - whole().zoom);
  const base = Math.min(5, Math.max(1.1, 130 / Math.sqrt(Math.max(n, 1))));
  return Math.min(8, base * (1 + 0.25 * deeper));
}

/** The names that fit: those of coarse clusters first, of finer ones as one zooms. */
const names = computed(() => {
  const levels = clusters.value?.levels ?? [];
  if (!levels.length || !positions.value.length) return [];
  const deeper = camera.value.zoom - whole().zoom;
  const depth = Math.min(levels.length - 1, Math.max(0, Math.floor(deeper / 1.1)));
  const rows: { cluster: Cluster; x: number; y: number; fine: boolean }[] = [];
  for (let level = 0; level <= depth; level++) {
    for (const cluster of levels[level]!.clusters) {
      const [x, y] = project(cluster.x, cluster.y);
      const out = x < 0 || y < 0 || x > size.value[0] || y > size.value[1];
      if (!out) rows.push({ cluster, x, y, fine: level > 0 });
    }
  }
  rows.sort((a, b) => Number(a.fine) - Number(b.fine) || b.cluster.size - a.cluster.size);
  const wide = (text: string) => [...text].reduce((sum, c) => sum + (c > "\u2e7f" ? 14 : 7.4), 18);
  const boxes = rows.map(({ cluster, x, y }) => {
    const width = wide(cluster.name);
    return { x: x - width / 2, y: y - 12, width, height: 24 };
  });
  const free = apart(boxes);
  return rows.filter((_, index) => free[index]);
});

function layers() {
  const n = positions.value.length / 2;
  const paint = painted.value;
  const chosen = new Set(selected.value);
  const sizes = chosen.size
    ? paint.sizes.map((value, index) => (chosen.has(index) ? Math.max(value, 1.5) : value * 0.7))
    : paint.sizes;
  const colors = chosen.size
    ? paint.colors.map((value, at) => (at % 4 === 3 && !chosen.has(at >> 2) ? 60 : value))
    : paint.colors;
  const filter = Float32Array.from(shown.value);
  const background: [number, number, number, number] = dark.value ? [15, 18, 24, 255] : [255, 255, 255, 255];
  const points = new ScatterplotLayer({
    id: "points",
    data: {
      length: n,
      attributes: {
        getPosition: { value: positions.value, size: 2 },
        getFillColor: { value: colors, size: 4 },
        getRadius: { value: sizes, size: 1 },
        getFilterValue: { value: filter, size: 1 },
      },
    },
    radiusUnits: "pixels",
    radiusScale: radius(n),
    radiusMinPixels: 0.8,
    stroked: n <= 20000,
    lineWidthUnits: "pixels",
    getLineWidth: 0.6,
    getLineColor: background,
    pickable: true,
    extensions: [new DataFilterExtension({ filterSize: 1 })],
    filterRange: [0.5, 1.5],
  } as never);
  const marked = [...searches.value.flatMap((found) => found?.answer.hits.map(({ index }) => index) ?? [])];
  const rings = [...new Set(marked)].filter((index) => shown.value[index]);
  const here = row.value && !skipped.value[row.value.index] ? [row.value.index] : [];
  const ring = (id: string, indices: number[], width: number, pixels: number) =>
    new ScatterplotLayer<number>({
      id,
      data: indices,
      getPosition: (index) => [positions.value[2 * index]!, positions.value[2 * index + 1]!],
      getRadius: pixels,
      radiusUnits: "pixels",
      filled: false,
      stroked: true,
      getLineColor: dark.value ? [255, 255, 255, 235] : [20, 22, 28, 235],
      getLineWidth: width,
      lineWidthUnits: "pixels",
      pickable: false,
    });
  return [points, ring("hits", rings, 1.25, radius(n) * 2 + 3), ring("here", here, 2.5, radius(n) * 2 + 7)];
}

export function Map() {
  const holder = useRef<HTMLDivElement>(null);
  const deck = useRef<Deck<OrthographicView> | null>(null);
  const [path, setPath] = useState<Point[]>([]);
  const drawn = useRef<Point[]>([]); // events may come faster than the page is drawn
  const n = positions.value.length / 2;

  useEffect(() => {
    const element = holder.current!;
    const made = !drawable.value ? null : new Deck<OrthographicView>({
      parent: element,
      views: new OrthographicView({ flipY: false }),
      controller: { doubleClickZoom: true, scrollZoom: { speed: 0.012, smooth: true }, inertia: 200, keyboard: false },
      useDevicePixels: Math.min(window.devicePixelRatio || 1, 2),
      viewState: { target: [0, 0, 0], zoom: 0 },
      pickingRadius: 6,
      getCursor: ({ isDragging, isHovering }) => (isDragging ? "grabbing" : isHovering ? "pointer" : "grab"),
      onViewStateChange: ({ viewState }) => {
        const { target, zoom } = viewState as OrthographicViewState;
        const least = whole().zoom - 2;
        camera.value = {
          x: target![0]!,
          y: target![1]!,
          zoom: Math.min(Math.max(zoom as number, least), least + 16),
        };
        hovered.value = null;
      },
      onHover: (info: PickingInfo) => hover(info.index, info.x, info.y),
      onClick: (info: PickingInfo) => {
        if (info.index >= 0) void open(info.index);
      },
      onError: (error) => {
        console.error(error);
        if (/webgl|context|device|adapter/i.test(error.message)) drawable.value = false;
      },
    });
    deck.current = made;
    const watch = new ResizeObserver(() => {
      const untouched = size.value[0] === 1 || Math.abs(camera.value.zoom - whole().zoom) < 0.01;
      size.value = [element.clientWidth, element.clientHeight];
      if (untouched) camera.value = whole();
    });
    watch.observe(element);
    return () => {
      watch.disconnect();
      made?.finalize();
    };
  }, []);

  useEffect(() => {
    camera.value = whole();
  }, [positions.value]);

  useEffect(() => {
    if (fly.value) camera.value = whole(fly.value.indices);
  }, [fly.value]);

  useEffect(() => {
    const { x, y, zoom } = camera.value;
    deck.current?.setProps({ viewState: { target: [x, y, 0], zoom } as never });
  }, [camera.value]);

  useEffect(() => {
    deck.current?.setProps({ layers: layers() });
  }, [positions.value, painted.value, shown.value, selected.value, searches.value, row.value, camera.value.zoom, dark.value]);

  const at = (event: PointerEvent): Point => {
    const box = holder.current!.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const extend = (points: Point[]) => {
    drawn.current = points;
    setPath(points);
  };
  const start = (event: PointerEvent) => {
    if (!(lassoing.value || event.shiftKey) || event.button !== 0) return;
    event.preventDefault();
    event.stopPropagation();
    (event.currentTarget as Element).setPointerCapture(event.pointerId);
    extend([at(event)]);
  };
  const draw = (event: PointerEvent) => {
    if (!drawn.current.length) return;
    event.stopPropagation();
    extend([...drawn.current, at(event)]);
  };
  const finish = () => {
    if (!drawn.current.length) return;
    void select(inside(positions.value, drawn.current.map(unproject), (index) => shown.value[index] === 1));
    extend([]);
    lassoing.value = false;
  };

  const keys = (event: KeyboardEvent) => {
    const step = 60 / 2 ** camera.value.zoom;
    const moves: Record<string, [number, number]> = {
      ArrowLeft: [-step, 0],
      ArrowRight: [step, 0],
      ArrowUp: [0, step],
      ArrowDown: [0, -step],
    };
    const move = moves[event.key];
    if (move) camera.value = { ...camera.value, x: camera.value.x + move[0], y: camera.value.y + move[1] };
    else if (event.key === "+" || event.key === "=") lens.by(0.5);
    else if (event.key === "-") lens.by(-0.5);
    else if (event.key === "0") lens.all();
    else return;
    event.preventDefault();
  };

  return (
    <div
      class={lassoing.value ? "map lassoing" : "map"}
      tabIndex={0}
      role="application"
      aria-label={t("mapLabel", { n })}
      onKeyDown={keys}
      onPointerDownCapture={start}
      onPointerMoveCapture={draw}
      onPointerUpCapture={finish}
      onPointerLeave={() => (hovered.value = null)}
    >
      <div class="canvas" ref={holder} />
      <div class="names" aria-hidden="true">
        {names.value.map(({ cluster, x, y, fine }) => (
          <span class={fine ? "fine" : ""} key={`${fine}${cluster.cluster}${cluster.name}`} style={{ transform: `translate(-50%,-50%) translate(${x}px,${y}px)` }}>
            {shorten(cluster.name)}
          </span>
        ))}
      </div>
      {path.length > 0 && (
        <svg class="lasso" aria-hidden="true">
          <polygon points={path.map((point) => point.join(",")).join(" ")} />
        </svg>
      )}
      <Tip />
      {!drawable.value && <p class="nothing">{t("noWebGL")}</p>}
      {meta.value && n === 0 && <p class="nothing">{t("empty")}</p>}
    </div>
  );
}

let asked: AbortController | null = null;
let timer = 0;

/** Shows the text under the pointer, a moment after it came to rest. */
function hover(index: number, x: number, y: number): void {
  if (hovered.value?.index === index) {
    hovered.value = { ...hovered.value, x, y };
    return;
  }
  clearTimeout(timer);
  asked?.abort();
  hovered.value = null;
  if (index < 0) return;
  timer = window.setTimeout(() => {
    const abort = new AbortController();
    asked = abort;
    void attempt(async () => {
      hovered.value = { index, x, y, text: await api.text(index, abort.signal) };
    });
  }, 40);
}

function Tip() {
  const tip = hovered.value;
  if (!tip) return null;
  const [wide, tall] = size.value;
  const left = Math.min(tip.x + 14, Math.max(wide - 340, 8));
  const below = tip.y < tall * 0.6;
  const style: Record<string, string> = { left: `${left}px` };
  if (below) style.top = `${tip.y + 16}px`;
  else style.bottom = `${tall - tip.y + 12}px`;
  return (
    <div class="tip" style={style} role="tooltip" dir="auto">
      {tip.text.length > 320 ? `${tip.text.slice(0, 320)}…` : tip.text}
    </div>
  );
}
