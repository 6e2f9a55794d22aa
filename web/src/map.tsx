// The map: points drawn by deck.gl, with the names of the groups as HTML text above them.

import { Deck, OrthographicView, type OrthographicViewState, type PickingInfo } from "@deck.gl/core";
import { DataFilterExtension } from "@deck.gl/extensions";
import { ScatterplotLayer } from "@deck.gl/layers";
import { computed, signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { api, type Cluster } from "./api";
import { type Point, pointsInPolygon, withoutOverlaps, zoomToFit } from "./geometry";
import { t } from "./i18n";
import { clusters, dark, focusTarget, handleErrors, hovered, meta, open, painted, positions, row, searches, select, selected, shorten, skipped, visible } from "./state";

interface Camera {
  x: number;
  y: number;
  zoom: number;
}

export const isLassoActive = signal(false);
/** Whether this browser supports WebGL. Without it, everything except the map works. */
export const hasWebGL = signal(detectWebGL());

function detectWebGL(): boolean {
  try {
    return document.createElement("canvas").getContext("webgl2") !== null;
  } catch {
    return false;
  }
}
const camera = signal<Camera>({ x: 0, y: 0, zoom: 0 });
const size = signal<[number, number]>([1, 1]);
export const zoom = {
  by: (steps: number) => (camera.value = { ...camera.value, zoom: camera.value.zoom + steps }),
  reset: () => (camera.value = cameraFor()),
};

/** Returns a camera that shows the given points, by default all. */
function cameraFor(indices?: number[]): Camera {
  const all = positions.value;
  const points = (indices ?? Array.from({ length: all.length / 2 }, (_, index) => index)).filter((index) => !skipped.value[index]);
  if (!points.length) return { x: 0, y: 0, zoom: 0 };
  let [left, right, low, high] = [Infinity, -Infinity, Infinity, -Infinity];
  for (const index of points) {
    left = Math.min(left, all[2 * index]!);
    right = Math.max(right, all[2 * index]!);
    low = Math.min(low, all[2 * index + 1]!);
    high = Math.max(high, all[2 * index + 1]!);
  }
  const [width, height] = size.value;
  const margin = Math.max(24, Math.min(width, height) * 0.07);
  const level = zoomToFit(right - left, high - low, width - 2 * margin, height - 2 * margin);
  const maximum = indices ? cameraFor().zoom + 2.2 : level;
  return { x: (left + right) / 2, y: (low + high) / 2, zoom: Math.min(level, maximum) };
}

/** Converts a position on the map to pixels. The y axis of the map points up. */
function project(x: number, y: number): Point {
  const scale = 2 ** camera.value.zoom;
  return [size.value[0] / 2 + (x - camera.value.x) * scale, size.value[1] / 2 - (y - camera.value.y) * scale];
}

function unproject([x, y]: Point): Point {
  const scale = 2 ** camera.value.zoom;
  return [camera.value.x + (x - size.value[0] / 2) / scale, camera.value.y - (y - size.value[1] / 2) / scale];
}

/** Returns the radius of points in pixels. It depends on the number of points and the zoom level. */
function radius(n: number): number {
  const zoomedIn = Math.max(0, camera.value.zoom - cameraFor().zoom);
  const base = Math.min(5, Math.max(1.1, 130 / Math.sqrt(Math.max(n, 1))));
  return Math.min(8, base * (1 + 0.25 * zoomedIn));
}

/** Names of groups that can be shown without overlaps. Fine groups appear at higher zoom levels. */
const names = computed(() => {
  const levels = clusters.value?.levels ?? [];
  if (!levels.length || !positions.value.length) return [];
  const zoomedIn = camera.value.zoom - cameraFor().zoom;
  const depth = Math.min(levels.length - 1, Math.max(0, Math.floor(zoomedIn / 1.1)));
  const rows: { cluster: Cluster; x: number; y: number; fine: boolean }[] = [];
  for (let level = 0; level <= depth; level++) {
    for (const cluster of levels[level]!.clusters) {
      const [x, y] = project(cluster.x, cluster.y);
      const isOutside = x < 0 || y < 0 || x > size.value[0] || y > size.value[1];
      if (!isOutside) rows.push({ cluster, x, y, fine: level > 0 });
    }
  }
  rows.sort((a, b) => Number(a.fine) - Number(b.fine) || b.cluster.size - a.cluster.size);
  const textWidth = (text: string) => [...text].reduce((sum, c) => sum + (c > "\u2e7f" ? 14 : 7.4), 18);
  const boxes = rows.map(({ cluster, x, y }) => {
    const width = textWidth(cluster.name);
    return { x: x - width / 2, y: y - 12, width, height: 24 };
  });
  const isFree = withoutOverlaps(boxes);
  return rows.filter((_, index) => isFree[index]);
});

function layers() {
  const n = positions.value.length / 2;
  const paint = painted.value;
  const highlighted = new Set(selected.value);
  const sizes = highlighted.size
    ? paint.sizes.map((value, index) => (highlighted.has(index) ? Math.max(value, 1.5) : value * 0.7))
    : paint.sizes;
  const colors = highlighted.size
    ? paint.colors.map((value, offset) => (offset % 4 === 3 && !highlighted.has(offset >> 2) ? 60 : value))
    : paint.colors;
  const filter = Float32Array.from(visible.value);
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
  const hits = searches.value.flatMap((search) => search?.response.hits.map(({ index }) => index) ?? []);
  const visibleHits = [...new Set(hits)].filter((index) => visible.value[index]);
  const current = row.value && !skipped.value[row.value.index] ? [row.value.index] : [];
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
  return [points, ring("hits", visibleHits, 1.25, radius(n) * 2 + 3), ring("current", current, 2.5, radius(n) * 2 + 7)];
}

export function MapView() {
  const container = useRef<HTMLDivElement>(null);
  const deck = useRef<Deck<OrthographicView> | null>(null);
  const [path, setPath] = useState<Point[]>([]);
  const currentPath = useRef<Point[]>([]); // the state may be updated later than the next event
  const n = positions.value.length / 2;

  useEffect(() => {
    const element = container.current!;
    const newDeck = !hasWebGL.value ? null : new Deck<OrthographicView>({
      parent: element,
      views: new OrthographicView({ flipY: false }),
      controller: { doubleClickZoom: true, scrollZoom: { speed: 0.012, smooth: true }, inertia: 200, keyboard: false },
      useDevicePixels: Math.min(window.devicePixelRatio || 1, 2),
      viewState: { target: [0, 0, 0], zoom: 0 },
      pickingRadius: 6,
      getCursor: ({ isDragging, isHovering }) => (isDragging ? "grabbing" : isHovering ? "pointer" : "grab"),
      onViewStateChange: ({ viewState }) => {
        const { target, zoom } = viewState as OrthographicViewState;
        const minZoom = cameraFor().zoom - 2;
        camera.value = {
          x: target![0]!,
          y: target![1]!,
          zoom: Math.min(Math.max(zoom as number, minZoom), minZoom + 16),
        };
        hovered.value = null;
      },
      onHover: (info: PickingInfo) => hover(info.index, info.x, info.y),
      onClick: (info: PickingInfo) => {
        if (info.index >= 0) void open(info.index);
      },
      onError: (error) => {
        console.error(error);
        if (/webgl|context|device|adapter/i.test(error.message)) hasWebGL.value = false;
      },
    });
    deck.current = newDeck;
    const observer = new ResizeObserver(() => {
      const isUnchanged = size.value[0] === 1 || Math.abs(camera.value.zoom - cameraFor().zoom) < 0.01;
      size.value = [element.clientWidth, element.clientHeight];
      if (isUnchanged) camera.value = cameraFor();
    });
    observer.observe(element);
    return () => {
      observer.disconnect();
      newDeck?.finalize();
    };
  }, []);

  useEffect(() => {
    camera.value = cameraFor();
  }, [positions.value]);

  useEffect(() => {
    if (focusTarget.value) camera.value = cameraFor(focusTarget.value.indices);
  }, [focusTarget.value]);

  useEffect(() => {
    const { x, y, zoom } = camera.value;
    deck.current?.setProps({ viewState: { target: [x, y, 0], zoom } as never });
  }, [camera.value]);

  useEffect(() => {
    deck.current?.setProps({ layers: layers() });
  }, [positions.value, painted.value, visible.value, selected.value, searches.value, row.value, camera.value.zoom, dark.value]);

  const pointOf = (event: PointerEvent): Point => {
    const box = container.current!.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const updatePath = (points: Point[]) => {
    currentPath.current = points;
    setPath(points);
  };
  const start = (event: PointerEvent) => {
    if (!(isLassoActive.value || event.shiftKey) || event.button !== 0) return;
    event.preventDefault();
    event.stopPropagation();
    (event.currentTarget as Element).setPointerCapture(event.pointerId);
    updatePath([pointOf(event)]);
  };
  const draw = (event: PointerEvent) => {
    if (!currentPath.current.length) return;
    event.stopPropagation();
    updatePath([...currentPath.current, pointOf(event)]);
  };
  const finish = () => {
    if (!currentPath.current.length) return;
    void select(pointsInPolygon(positions.value, currentPath.current.map(unproject), (index) => visible.value[index] === 1));
    updatePath([]);
    isLassoActive.value = false;
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
    else if (event.key === "+" || event.key === "=") zoom.by(0.5);
    else if (event.key === "-") zoom.by(-0.5);
    else if (event.key === "0") zoom.reset();
    else return;
    event.preventDefault();
  };

  return (
    <div
      class={isLassoActive.value ? "map lassoing" : "map"}
      tabIndex={0}
      role="application"
      aria-label={t("mapLabel", { n })}
      onKeyDown={keys}
      onPointerDownCapture={start}
      onPointerMoveCapture={draw}
      onPointerUpCapture={finish}
      onPointerLeave={() => (hovered.value = null)}
    >
      <div class="canvas" ref={container} />
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
      <Tooltip />
      {!hasWebGL.value && <p class="nothing">{t("noWebGL")}</p>}
      {meta.value && n === 0 && <p class="nothing">{t("empty")}</p>}
    </div>
  );
}

let pendingText: AbortController | null = null;
let timer = 0;

/** Shows the text of the point under the pointer after a short delay. */
function hover(index: number, x: number, y: number): void {
  if (hovered.value?.index === index) {
    hovered.value = { ...hovered.value, x, y };
    return;
  }
  clearTimeout(timer);
  pendingText?.abort();
  hovered.value = null;
  if (index < 0) return;
  timer = window.setTimeout(() => {
    const abort = new AbortController();
    pendingText = abort;
    void handleErrors(async () => {
      hovered.value = { index, x, y, text: await api.text(index, abort.signal) };
    });
  }, 40);
}

function Tooltip() {
  const tooltip = hovered.value;
  if (!tooltip) return null;
  const [width, height] = size.value;
  const left = Math.min(tooltip.x + 14, Math.max(width - 340, 8));
  const isBelow = tooltip.y < height * 0.6;
  const style: Record<string, string> = { left: `${left}px` };
  if (isBelow) style.top = `${tooltip.y + 16}px`;
  else style.bottom = `${height - tooltip.y + 12}px`;
  return (
    <div class="tip" style={style} role="tooltip" dir="auto">
      {tooltip.text.length > 320 ? `${tooltip.text.slice(0, 320)}…` : tooltip.text}
    </div>
  );
}
