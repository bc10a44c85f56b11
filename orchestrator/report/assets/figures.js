// Axes, lines, points and scales in the width that their pane has.
const data = JSON.parse(document.getElementById("front").textContent);
const NS = "http://www.w3.org/2000/svg";
const VIRIDIS = ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"];
const MODELS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8a94a0"];
const OFFSETS = [[1, -1], [1, 1], [-1, -1], [-1, 1], [0, -1.6], [0, 1.6], [1.4, 0], [-1.4, 0], [-1, -2.4], [-1, 2.4], [1, -2.4], [1, 2.4]];

const make = (tag, attributes, parent, text) => {
  const element = tag.startsWith("svg:") ? document.createElementNS(NS, tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  if (parent) parent.append(element);
  return element;
};
const number = (value) => {
  if (value === null || value === undefined || typeof value !== "number") return String(value ?? "");
  const size = Math.abs(value);
  return size !== 0 && (size < 0.001 || size >= 10000) ? value.toExponential(2) : String(+value.toPrecision(3));
};
const two = (value) => Math.abs(value) < 100 ? value.toFixed(2) : number(value);
const measured = (v) => !v || v[0] === null ? "" : v[1] === null ? number(v[0]) : `${two(v[0])} [${two(v[1])}, ${two(v[2])}]`;

function ticks(low, high, count) {
  const rough = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 2.5, 5, 10].find((each) => each * power >= rough);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-9; at += step) found.push(+at.toPrecision(12));
  return found;
}

function colours(values) {
  const known = values.filter((value) => typeof value === "number" && isFinite(value));
  const low = Math.min(...known), high = Math.max(...known);
  if (known.length < 2 || low === high) return null;
  const log = low > 0 && high / low > 20;
  const place = (value) => log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
  const of = (value) => typeof value === "number" ? VIRIDIS[Math.round(8 * Math.min(1, Math.max(0, place(value))))] : null;
  return { low, high, log, of };
}

const SHAPES = {
  base: "M0,-9 2.6,-3 9,-2.6 4.2,1.6 5.8,8 0,4.4 -5.8,8 -4.2,1.6 -9,-2.6 -2.6,-3Z",
  ift: "M0,-8 8,0 0,8 -8,0Z", ift_safety: "M-6.5,-6.5H6.5V6.5H-6.5Z", cross: "M-4,-4 4,4M-4,4 4,-4",
};

// One figure: axes, lines and points in the width that its pane has.
function draw(host, figure) {
  const width = Math.max(240, host.clientWidth), height = Math.round(Math.min(figure.height || 520, Math.max(260, width * 0.66)));
  const left = 46, right = 12, top = 10, bottom = 26;
  const [xLow, xHigh] = figure.x.range, [yLow, yHigh] = figure.y.range;
  const px = (x) => left + (x - xLow) / (xHigh - xLow) * (width - left - right);
  const py = (y) => top + (yHigh - y) / (yHigh - yLow) * (height - top - bottom);
  const focused = host.contains(document.activeElement) ? document.activeElement.getAttribute("data-id") : null;
  host.replaceChildren();
  const svg = make("svg:svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": figure.label }, host);
  for (const x of ticks(xLow, xHigh, Math.floor(width / 90))) {
    make("svg:line", { class: "grid", x1: px(x), x2: px(x), y1: top, y2: height - bottom }, svg);
    make("svg:text", { x: px(x), y: height - 8, "text-anchor": "middle" }, svg, number(x));
  }
  for (const y of figure.y.hidden ? [] : ticks(yLow, yHigh, Math.floor(height / 60))) {
    make("svg:line", { class: "grid", x1: left, x2: width - right, y1: py(y), y2: py(y) }, svg);
    make("svg:text", { x: left - 6, y: py(y) + 4, "text-anchor": "end" }, svg, number(y));
  }
  make("svg:rect", { class: "frame", x: left, y: top, width: width - left - right, height: height - top - bottom }, svg);
  const clip = `clip-${host.id}`;
  make("svg:rect", { x: left, y: top, width: width - left - right, height: height - top - bottom },
    make("svg:clipPath", { id: clip }, svg));
  const inner = make("svg:g", { "clip-path": `url(#${clip})` }, svg);
  for (const line of figure.lines) {
    const points = line.points.filter(([x, y]) => x !== null && y !== null);
    if (!points.length) continue;
    const path = "M" + points.map(([x, y]) => `${px(x).toFixed(1)},${py(y).toFixed(1)}`).join("L");
    const drawn = make("svg:path", { class: `line ${line.class || ""}${line.faded ? " faded" : ""}`, ...(line.id ? { "data-id": line.id } : {}), d: path, "data-points": JSON.stringify(line.points) }, inner);
    if (line.class !== "stairs") drawn.setAttribute("stroke", line.color || "currentColor");
    if (line.dash) drawn.setAttribute("stroke-dasharray", line.dash);
    if (line.name) make("svg:title", {}, drawn, line.name);
  }
  const inside = ({ x, y }) => x[0] >= xLow && x[0] <= xHigh && y[0] >= yLow && y[0] <= yHigh;
  const shown = figure.points.filter((p) => p.x && p.y && p.x[0] !== null && p.y[0] !== null);
  const visible = shown.filter(inside), away = shown.filter((p) => !inside(p));
  for (const p of visible.filter((each) => each.bars && !each.faded)) {
    if (p.x[1] !== null) make("svg:line", { class: "bar", x1: px(p.x[1]), x2: px(p.x[2]), y1: py(p.y[0]), y2: py(p.y[0]) }, inner);
    if (p.y[1] !== null) make("svg:line", { class: "bar", x1: px(p.x[0]), x2: px(p.x[0]), y1: py(p.y[1]), y2: py(p.y[2]) }, inner);
  }
  const boxes = [], edges = [];
  for (const p of visible) {
    const [cx, cy] = [px(p.x[0]), py(p.y[0])];
    const reach = p.chosen ? 12 : 7;
    boxes.push([cx - reach, cy - reach, cx + reach, cy + reach]);
    if (p.chosen) make("svg:circle", { class: "ring", cx, cy, r: 12 }, svg);
    marker(svg, p, cx, cy);
  }
  for (const p of away.filter((each) => each.reference)) {
    const cx = Math.min(width - right - 9, Math.max(left + 9, px(p.x[0]))), cy = Math.min(height - bottom - 9, Math.max(top + 9, py(p.y[0])));
    const free = edges.reduce((at, [x, y]) => Math.abs(x - cx) < 20 && Math.abs(y - at) < 20 ? y + 20 : at, cy);
    edges.push([cx, free]);
    boxes.push([cx - 9, free - 9, cx + 9, free + 9]);
    marker(svg, p, cx, free, true);
    p.edge = [cx, free];
  }
  for (const p of [...visible, ...away.filter((each) => each.reference)].filter((each) => each.named && !each.faded)) {
    const [cx, cy] = p.edge && away.includes(p) ? p.edge : [px(p.x[0]), py(p.y[0])];
    if (p.reference && width < 520 && !away.includes(p)) continue;  // the legend has their shapes
    const at = `${number(p.x[0])}${figure.y.hidden ? "" : `, ${number(p.y[0])}`}`;
    const texts = !away.includes(p) ? [p.name] : width < 520 ? [`(${at})`] : [`${p.name} (${at})`, `(${at})`];
    const h = 14;
    let best = null, text = texts[0];
    for (const tried of texts) {
      const w = tried.length * 6.6 + 4;
      for (const [dx, dy] of OFFSETS) {
        const x = cx + dx * 11 - (dx < 0 ? w : dx === 0 ? w / 2 : 0), y = cy + dy * 10 - h / 2;
        if (x < left || x + w > width - right || y < top || y + h > height - bottom) continue;
        const covered = boxes.reduce((sum, [x0, y0, x1, y1]) =>
          sum + Math.max(0, Math.min(x + w, x1) - Math.max(x, x0)) * Math.max(0, Math.min(y + h, y1) - Math.max(y, y0)), 0);
        if (!best || covered < best.covered - 1) { best = { covered, x, y, w }; text = tried; }
        if (!covered) break;
      }
      if (best && best.covered < 1) break;
    }
    if (!best || (best.covered > 4 && !p.reference && !p.chosen)) continue;
    boxes.push([best.x, best.y, best.x + best.w, best.y + h]);
    const label = make("svg:text", { x: best.x + 2, y: best.y + 11, class: "name" }, svg, text);
    if (p.reference) label.setAttribute("class", `name marked ref-${p.reference}`);
    else if (p.chosen) label.setAttribute("class", "name chosen");
  }
  const hidden = away.filter((p) => !p.reference).length;
  if (figure.outside) figure.outside.textContent = hidden ? `${hidden} trial${hidden > 1 ? "s lie" : " lies"} outside this view` : "";
  if (focused) svg.querySelector(`[data-id="${CSS.escape(focused)}"]`)?.focus();

  function marker(parent, p, cx, cy, edge) {
    const shape = p.reference ? SHAPES[p.reference] || SHAPES.ift : p.role === "infeasible" ? SHAPES.cross : null;
    const common = { "data-id": p.id, "data-x": p.x[0], "data-y": p.y[0], tabindex: 0, role: "button",
      "aria-label": `${p.name}: ${figure.x.name} ${measured(p.x)}${figure.y.hidden ? "" : `, ${figure.y.name} ${measured(p.y)}`}` };
    const classes = `point ${p.role}${p.hollow ? " hollow" : ""}${p.reference ? ` marker ref-${p.reference}` : ""}${p.faded ? " faded" : ""}${picked === p.id ? " picked" : ""}`;
    const drawn = shape
      ? make("svg:path", { ...common, d: shape, class: classes, transform: `translate(${cx},${cy})` }, parent)
      : make("svg:circle", { ...common, cx, cy, r: p.role === "front" ? 6.5 : 4.5, class: classes }, parent);
    if (!p.reference && p.role !== "infeasible") drawn.style[p.hollow ? "stroke" : "fill"] = p.color;
    if (edge) drawn.setAttribute("opacity", 0.8);
    make("svg:title", {}, drawn, common["aria-label"]);
    drawn.addEventListener("click", () => pick(p.id));
    drawn.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); pick(p.id); }
      if (!step) return;
      event.preventDefault();
      const order = [...visible].sort((a, b) => a.x[0] - b.x[0]);
      const next = order[(order.indexOf(p) + step + order.length) % order.length];
      svg.querySelector(`[data-id="${CSS.escape(next.id)}"]`)?.focus();
    });
  }
}
