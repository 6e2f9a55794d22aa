"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const bytes = Uint8Array.from(atob(data.points), (c) => c.charCodeAt(0));
const raw = new Float32Array(bytes.buffer);
const is3d = data.dimensions === 3, d = data.dimensions, n = data.texts.length;
const canvas = document.getElementById("map"), pen = canvas.getContext("2d");
const tip = document.getElementById("tip"), find = document.getElementById("find");
const shown = data.legend.map(() => true);
const lower = data.texts.map((text) => text.toLowerCase());
const sx = new Float32Array(n), sy = new Float32Array(n), depth = new Float32Array(n);
let order = Uint32Array.from({ length: n }, (_, i) => i);
let view = start(), width = 1, height = 1, scheduled = false, hovered = -1, query = "";

function start() { return { x: 0, y: 0, zoom: 1, turn: 0.6, tilt: 0.35 }; }
const darkMode = matchMedia("(prefers-color-scheme: dark)");
function adapt(color) {  // on a dark page, mix dark colors with white
  const rgb = [1, 3, 5].map((k) => parseInt(color.slice(k, k + 2), 16));
  const light = (0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2]) / 255;
  return darkMode.matches && light < 0.38 ? "rgb(" + rgb.map((c) => Math.round(c + (255 - c) * 0.38)).join() + ")" : color;
}
function project(at) {
  let x = at[0], y = at[1], z = 0;
  if (is3d) {
    const ct = Math.cos(view.turn), st = Math.sin(view.turn), ci = Math.cos(view.tilt), si = Math.sin(view.tilt);
    const u = at[0] * ct - at[2] * st, w = at[0] * st + at[2] * ct;
    x = u; y = at[1] * ci - w * si; z = at[1] * si + w * ci;
  }
  const scale = Math.min(width, height) * 0.46 * view.zoom;
  return [width / 2 + (x + view.x) * scale, height / 2 - (y + view.y) * scale, z];
}
function matches(i) { return !query || lower[i].includes(query); }
function draw() {
  scheduled = false;
  const dark = darkMode.matches, colors = data.legend.map((entry) => adapt(entry.color));
  pen.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
  pen.clearRect(0, 0, width, height);
  const at = [0, 0, 0];
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < d; k++) at[k] = raw[i * d + k];
    const p = project(at); sx[i] = p[0]; sy[i] = p[1]; depth[i] = p[2];
  }
  if (is3d) order.sort((a, b) => depth[a] - depth[b]);
  const size = Math.max(1.6, Math.min(9, Math.sqrt(60000 / n)) * Math.pow(view.zoom, 0.35));
  for (let o = 0; o < n; o++) {
    const i = order[o], g = data.group[i];
    if (!shown[g] || sx[i] < -9 || sy[i] < -9 || sx[i] > width + 9 || sy[i] > height + 9) continue;
    pen.globalAlpha = matches(i) ? (is3d ? 0.5 + 0.4 * Math.min(1, Math.max(0, (depth[i] + 1) / 2)) : 0.75) : 0.06;
    pen.fillStyle = colors[g];
    if (n > 20000) pen.fillRect(sx[i] - size / 2, sy[i] - size / 2, size, size);
    else { pen.beginPath(); pen.arc(sx[i], sy[i], size / 2, 0, 7); pen.fill(); }
  }
  pen.globalAlpha = 1;
  pen.font = "600 13px system-ui, sans-serif"; pen.textAlign = "center"; pen.textBaseline = "middle"; pen.lineJoin = "round";
  for (const label of data.labels) {
    if (!shown[label.group]) continue;
    const p = project(label.at);
    pen.lineWidth = 4; pen.strokeStyle = dark ? "#16181c" : "#ffffff"; pen.strokeText(label.text, p[0], p[1]);
    pen.fillStyle = dark ? "#ececec" : "#1c1c1c"; pen.fillText(label.text, p[0], p[1]);
  }
  if (hovered >= 0) {
    pen.beginPath(); pen.arc(sx[hovered], sy[hovered], size / 2 + 4, 0, 7);
    pen.lineWidth = 2; pen.strokeStyle = dark ? "#ffffff" : "#000000"; pen.stroke();
  }
}
function requestDraw() { if (!scheduled) { scheduled = true; requestAnimationFrame(draw); } }
function fit() {
  const box = canvas.getBoundingClientRect();
  width = Math.max(1, box.width); height = Math.max(1, box.height);
  canvas.width = Math.round(width * devicePixelRatio); canvas.height = Math.round(height * devicePixelRatio);
  draw();  // immediately, because resizing clears a canvas
}
function nearest(x, y) {
  let best = -1, minDistance = 144;
  for (let i = 0; i < n; i++) {
    if (!shown[data.group[i]] || !matches(i)) continue;
    const distance = (sx[i] - x) ** 2 + (sy[i] - y) ** 2;
    if (distance < minDistance || (distance === minDistance && depth[i] > depth[best])) { minDistance = distance; best = i; }
  }
  return best;
}
function hover(i, x, y) {
  hovered = i; tip.hidden = i < 0;
  if (i >= 0) {
    const head = document.createElement("b");
    head.textContent = data.legend.length > 1 ? (data.legendTitle ? data.legendTitle + ": " : "") + data.legend[data.group[i]].name : "";
    tip.replaceChildren(...(head.textContent ? [head] : []), document.createTextNode(data.texts[i]));
    const w = tip.offsetWidth, h = tip.offsetHeight;
    tip.style.left = Math.max(4, x + 14 + w > width ? x - w - 14 : x + 14) + "px";
    tip.style.top = Math.max(4, Math.min(y + 14, height - h - 4)) + "px";
  }
  requestDraw();
}
function zoom(factor, x, y) {
  const next = Math.min(200, Math.max(0.5, view.zoom * factor)), base = Math.min(width, height) * 0.46;
  const fx = (x - width / 2) / base, fy = -(y - height / 2) / base;
  view.x += fx / next - fx / view.zoom; view.y += fy / next - fy / view.zoom; view.zoom = next; requestDraw();
}
const pointers = new Map();
let pinch = 0;
canvas.addEventListener("pointerdown", (e) => { canvas.setPointerCapture(e.pointerId); pointers.set(e.pointerId, [e.offsetX, e.offsetY, e.shiftKey || e.button === 2]); canvas.classList.add("dragging"); });
canvas.addEventListener("pointermove", (e) => {
  const last = pointers.get(e.pointerId);
  if (!last) { hover(nearest(e.offsetX, e.offsetY), e.offsetX, e.offsetY); return; }
  const dx = e.offsetX - last[0], dy = e.offsetY - last[1];
  pointers.set(e.pointerId, [e.offsetX, e.offsetY, last[2]]);
  if (pointers.size === 2) {
    const [a, b] = [...pointers.values()], distance = Math.hypot(a[0] - b[0], a[1] - b[1]);
    if (pinch) zoom(distance / pinch, (a[0] + b[0]) / 2, (a[1] + b[1]) / 2);
    pinch = distance;
  } else if (is3d && !last[2]) {
    view.turn += dx * 0.008; view.tilt = Math.max(-1.5, Math.min(1.5, view.tilt + dy * 0.008));
  } else {
    const scale = Math.min(width, height) * 0.46 * view.zoom; view.x += dx / scale; view.y -= dy / scale;
  }
  hover(-1); requestDraw();
});
for (const type of ["pointerup", "pointercancel"]) canvas.addEventListener(type, (e) => {
  pointers.delete(e.pointerId); pinch = 0; if (!pointers.size) canvas.classList.remove("dragging");
  if (e.pointerType !== "mouse") hover(nearest(e.offsetX, e.offsetY), e.offsetX, e.offsetY);
});
canvas.addEventListener("pointerleave", () => hover(-1));
canvas.addEventListener("contextmenu", (e) => e.preventDefault());
canvas.addEventListener("wheel", (e) => { e.preventDefault(); zoom(Math.exp(-e.deltaY * 0.0015), e.offsetX, e.offsetY); }, { passive: false });
canvas.addEventListener("keydown", (e) => {
  const step = 0.1 / view.zoom;
  const moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
  if (moves[e.key]) { if (is3d && !e.shiftKey) { view.turn += moves[e.key][0] * view.zoom; view.tilt -= moves[e.key][1] * view.zoom; } else { view.x += moves[e.key][0]; view.y += moves[e.key][1]; } }
  else if (e.key === "+" || e.key === "=") zoom(1.3, width / 2, height / 2);
  else if (e.key === "-") zoom(1 / 1.3, width / 2, height / 2);
  else if (e.key === "0") view = start();
  else return;
  e.preventDefault(); requestDraw();
});
document.getElementById("reset").addEventListener("click", () => { view = start(); requestDraw(); });
find.addEventListener("input", () => { query = find.value.trim().toLowerCase(); count(); hover(-1); });
function count() {
  let seen = 0;
  for (let i = 0; i < n; i++) if (shown[data.group[i]] && matches(i)) seen++;
  document.getElementById("count").textContent = (seen === n ? "" : seen.toLocaleString("en") + " of ") + n.toLocaleString("en") + " texts";
}
const sizes = data.legend.map(() => 0);
for (const g of data.group) sizes[g]++;
document.getElementById("legend-title").textContent = data.legendTitle;
data.legend.forEach((entry, index) => {
  const item = document.createElement("li"), button = document.createElement("button");
  const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg"), dot = document.createElementNS("http://www.w3.org/2000/svg", "circle");
  drawing.setAttribute("width", "12"); drawing.setAttribute("height", "12");
  for (const [name, value] of [["cx", 6], ["cy", 6], ["r", 5], ["fill", adapt(entry.color)]]) dot.setAttribute(name, value);
  drawing.append(dot);
  const name = document.createElement("span"), total = document.createElement("span");
  name.textContent = entry.name; total.textContent = sizes[index].toLocaleString("en"); total.className = "n";
  button.type = "button"; button.setAttribute("aria-pressed", "true"); button.append(drawing, name, total);
  button.addEventListener("click", () => { shown[index] = !shown[index]; button.setAttribute("aria-pressed", String(shown[index])); count(); hover(-1); });
  item.append(button); document.getElementById("legend").append(item);
});
new ResizeObserver(fit).observe(canvas);
darkMode.addEventListener("change", () => { document.querySelectorAll("#legend circle").forEach((dot, k) => dot.setAttribute("fill", adapt(data.legend[k].color))); requestDraw(); });
count(); fit();
