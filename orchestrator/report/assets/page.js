"use strict";
// Draws the figures of front.html from the JSON beside them, and links figures, tables and details. Loads nothing.
(() => {
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
      const drawn = make("svg:path", { class: `line ${line.class || ""}`, d: path, "data-points": JSON.stringify(line.points) }, inner);
      if (line.class !== "stairs") drawn.setAttribute("stroke", line.color || "currentColor");
      if (line.dash) drawn.setAttribute("stroke-dasharray", line.dash);
      if (line.name) make("svg:title", {}, drawn, line.name);
    }
    const inside = ({ x, y }) => x[0] >= xLow && x[0] <= xHigh && y[0] >= yLow && y[0] <= yHigh;
    const shown = figure.points.filter((p) => p.x && p.y && p.x[0] !== null && p.y[0] !== null);
    const visible = shown.filter(inside), away = shown.filter((p) => !inside(p));
    for (const p of visible.filter((each) => each.bars)) {
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
    for (const p of [...visible, ...away.filter((each) => each.reference)].filter((each) => each.named)) {
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
      const classes = `point ${p.role}${p.hollow ? " hollow" : ""}${p.reference ? ` marker ref-${p.reference}` : ""}${picked === p.id ? " picked" : ""}`;
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

  // What is picked is picked everywhere: in figures, in the table, in the details and in the address.
  let picked = null;
  const redraw = [];
  function pick(id, quiet) {
    picked = id;
    document.querySelectorAll(".picked").forEach((each) => each.classList.remove("picked"));
    document.querySelectorAll(`[data-id="${CSS.escape(id)}"]`).forEach((each) => each.classList.add("picked"));
    for (const model of data.models) {
      const point = model.points.find((each) => each.id === id);
      if (point) describe(model, point);
    }
    // MLflow shows the page in a frame without an address of its own, where there is nothing to keep.
    if (!quiet) try { history.replaceState(null, "", `#${encodeURIComponent(id)}`); } catch { /* picked all the same */ }
  }

  function describe(model, point) {
    const host = document.getElementById(`details-${model.place}`);
    if (!host) return;
    host.replaceChildren();
    make("h3", {}, host, `${point.name}: ${point.what}`);
    for (const rows of [Object.entries(point.params).map(([name, value]) => [name, number(value)]),
      Object.entries(point.values).map(([name, value]) => [data.titles[name] || name, measured(value)]),
      point.chance === null ? [] : [["probability on the front", number(point.chance)]]]) {
      if (!rows.length) continue;
      const list = make("dl", {}, host);
      for (const [name, value] of rows) { make("dt", {}, list, name); make("dd", {}, list, value); }
    }
    for (const [what, command] of point.commands) {
      make("div", { class: "quiet" }, host, what);
      const line = make("div", { class: "command" }, host);
      make("code", {}, line, command);
      make("button", { type: "button" }, line, "copy");
    }
    // Texts stay in the sweep's folder, so that the copy in MLflow has no such page beside it.
    if (data.answers && location.protocol === "file:" && !point.reference)
      make("a", { href: `${data.answers}#${encodeURIComponent(point.id)}` }, make("p", {}, host), "Some of its answers");
  }

  function copy(button) {
    const text = button.parentElement.querySelector("code").textContent;
    const done = () => { button.textContent = "copied"; setTimeout(() => { button.textContent = "copy"; }, 1500); };
    const select = () => getSelection().selectAllChildren(button.parentElement.querySelector("code"));
    if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, select); else select();
  }

  function scatter(model) {
    const host = document.getElementById(`scatter-${model.place}`);
    if (!host) return;
    const view = { x: data.x.metric, y: data.y ? data.y.metric : null, color: data.color, all: false };
    const controls = document.getElementById(`controls-${model.place}`);
    const axes = document.getElementById(`axes-${model.place}`);
    const names = Object.keys(data.titles), params = [...new Set(model.points.flatMap((p) => Object.keys(p.params)))];
    const choose = (label, options, value, change) => {
      const select = make("select", {}, make("label", {}, controls, `${label} `));
      for (const [key, text] of options) make("option", key === value ? { value: key, selected: "" } : { value: key }, select, text);
      select.addEventListener("change", () => { change(select.value); render(); });
    };
    const metrics = names.map((name) => [name, data.titles[name]]);
    choose("across", metrics, view.x, (value) => { view.x = value; });
    if (data.y) choose("up", metrics, view.y, (value) => { view.y = value; });
    choose("colour", [["", "none"], ...params.map((name) => [`p:${name}`, name]), ...metrics], view.color, (value) => { view.color = value; });
    const all = make("input", { type: "checkbox" }, make("label", {}, controls, ""));
    all.after(" show all");
    all.addEventListener("change", () => { view.all = all.checked; render(); });
    const outside = make("span", {}, controls);

    const colourOf = (p) => view.color.startsWith("p:") ? p.params[view.color.slice(2)] : view.color ? p.values[view.color]?.[0] : null;
    function span(get, own) {
      const matter = model.points.filter((p) => view.all || (own ? p.matters : p.role === "front" || p.matters));
      const ends = matter.flatMap((p) => { const v = get(p); return !v || v[0] === null ? [] : p.bars && v[1] !== null ? v : [v[0]]; });
      if (!ends.length) return [0, 1];
      const low = Math.min(...ends), high = Math.max(...ends), pad = 0.05 * (high - low) || 0.05 * (Math.abs(high) || 1);
      return [low - pad, high + pad];
    }
    function render() {
      const usual = view.x === data.x.metric && (!data.y || view.y === data.y.metric);
      const shades = colours(model.points.filter((p) => !p.reference).map(colourOf));
      const x = (p) => p.values[view.x], y = (p) => view.y ? p.values[view.y] : [p.rank, null, null];
      const points = model.points.map((p) => ({ ...p, x: x(p), y: y(p), named: p.reference || p.role === "front",
        color: (shades && shades.of(colourOf(p))) || (view.color ? "#8a94a0" : "#0072B2") }))
        .sort((a, b) => a.order - b.order);
      draw(host, { label: `Trials of ${model.model}`, points, outside,
        x: { range: span(x, true), name: data.titles[view.x] }, y: { range: span(y, true), name: data.titles[view.y], hidden: !view.y },
        lines: usual && model.stairs.length ? [{ class: "stairs", points: model.stairs }] : [] });
      axes.replaceChildren();
      const arrow = (metric) => metric === data.x.metric ? ` (${data.x.better})` : data.y && metric === data.y.metric ? ` (${data.y.better})` : "";
      document.getElementById(`up-${model.place}`).textContent = view.y ? `\u2191 ${data.titles[view.y]}${arrow(view.y)}` : "best at the top";
      make("p", { class: "axis x" }, axes, `${data.titles[view.x]}${arrow(view.x)} \u2192`);
      legend(axes, model, shades, view.color.startsWith("p:") ? view.color.slice(2) : data.titles[view.color]);
    }
    redraw.push([host, render]);
    render();
  }

  function legend(parent, model, shades, title) {
    const list = make("ul", { class: "legend" }, parent);
    const entry = (draw, text, name) => { const item = make("li", name ? { class: name } : {}, list); draw(make("svg:svg", { viewBox: "-9 -9 18 18", class: "chart-key" }, item)); item.append(text); };
    const has = (test) => model.points.some(test);
    if (has((p) => p.role === "front" && !p.hollow)) entry((s) => make("svg:circle", { r: 7, fill: "currentColor" }, s), "on the front");
    if (has((p) => p.hollow)) entry((s) => make("svg:circle", { r: 6, fill: "none", stroke: "currentColor", "stroke-width": 3 }, s), "on the front, not borne out by these prompts");
    if (has((p) => p.role === "dominated")) entry((s) => make("svg:circle", { r: 5, fill: "currentColor", opacity: 0.4 }, s), "off the front");
    if (has((p) => p.role === "infeasible")) entry((s) => make("svg:path", { d: SHAPES.cross, stroke: "currentColor", "stroke-width": 2 }, s), "breaks a rule");
    for (const p of model.points.filter((each) => each.reference))
      entry((s) => make("svg:path", { d: SHAPES[p.reference] || SHAPES.ift, fill: "currentColor" }, s), p.name, `ref-${p.reference}`);
    if (model.points.some((p) => p.chosen)) entry((s) => make("svg:circle", { r: 7, fill: "none", stroke: "var(--good)", "stroke-width": 3 }, s), "to take");
    if (shades) {
      const item = make("li", { class: "scale" }, list);
      item.append(`${title}${shades.log ? " (log)" : ""}: ${number(shades.low)} `);
      const scale = make("svg:svg", { viewBox: "0 0 9 1", preserveAspectRatio: "none" }, item);
      VIRIDIS.forEach((color, at) => make("svg:rect", { x: at, width: 1.05, height: 1, fill: color }, scale));
      item.append(` ${number(shades.high)}`);
    }
  }

  function lines(host, figure) {
    if (!host) return;
    const ys = figure.lines.flatMap((line) => line.points.map((p) => p[1]).filter((y) => y !== null));
    const xs = figure.lines.flatMap((line) => line.points.map((p) => p[0]));
    const pad = 0.05 * (Math.max(...ys) - Math.min(...ys)) || 0.05;
    const range = [Math.min(...ys) - pad, Math.max(...ys) + pad], across = [Math.min(...xs), Math.max(...xs)];
    if (across[0] === across[1]) { across[0] -= 0.5; across[1] += 0.5; }
    const shades = colours(figure.lines.map((line) => line.shade));
    const render = () => draw(host, { label: figure.label, height: 340, points: [], x: { range: across }, y: { range },
      lines: figure.lines.map((line) => ({ ...line, class: line.reference ? `reference ref-${line.reference}` : "",
        color: line.reference ? "currentColor" : (shades && shades.of(line.shade)) || "#8a94a0",
        dash: { ift: "7 4", ift_safety: "2 4" }[line.reference] })) });
    redraw.push([host, render]);
    render();
  }

  function sideBySide() {
    const host = document.getElementById("normalised");
    if (!host || !data.normalised) return;
    const points = data.normalised.flatMap((model, place) => model.points.map((p) => ({ ...p, color: MODELS[place % 7], bars: true })));
    const span = (axis) => {
      const ends = [0, 1, ...points.flatMap((p) => p[axis])];
      const low = Math.max(-0.6, Math.min(...ends)), high = Math.min(1.6, Math.max(...ends));
      return [low - 0.03, high + 0.03];
    };
    const render = () => draw(host, { label: "Fronts of all models in their own units", points, x: { range: span("x"), name: "safety regained" },
      y: { range: span("y"), name: "task gain kept" },
      lines: data.normalised.map((model, place) => ({ points: model.stairs, color: MODELS[place % 7], name: model.name })) });
    redraw.push([host, render]);
    render();
    const list = document.getElementById("normalised-legend");
    data.normalised.forEach((model, place) => {
      const item = make("li", {}, list);
      make("svg:rect", { width: 18, height: 12, fill: MODELS[place % 7] }, make("svg:svg", { viewBox: "0 0 18 12" }, item));
      item.append(model.name);
    });
    const key = (text, tag, attributes) => {
      const item = make("li", {}, list);
      make(tag, attributes, make("svg:svg", { viewBox: "-9 -9 18 18" }, item));
      item.append(text);
    };
    key("safety data alone", "svg:path", { d: SHAPES.ift_safety, fill: "currentColor" });
    key("to take", "svg:circle", { r: 7, fill: "none", stroke: "var(--good)", "stroke-width": 3 });
  }

  function sortable(table) {
    const body = table.tBodies[0];
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = make("button", { type: "button" });
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const key = (row) => row.cells[column].dataset.v ?? row.cells[column].textContent;
        const rows = [...body.rows].sort((one, two) => {
          const [a, b] = [key(one), key(two)];
          if (a === "" || b === "") return (a === "") - (b === "");
          const order = isNaN(a) || isNaN(b) ? a.localeCompare(b, "en", { numeric: true }) : a - b;
          return up ? order : -order;
        });
        body.append(...rows);
      });
    });
    for (const row of body.rows) if (row.dataset.id) row.addEventListener("click", () => pick(row.dataset.id));
  }

  data.models.forEach((model) => {
    scatter(model);
    for (const figure of model.figures) lines(document.getElementById(figure.host), figure);
  });
  sideBySide();
  document.querySelectorAll("table.sortable").forEach(sortable);
  document.addEventListener("click", (event) => { if (event.target.closest(".command button")) copy(event.target.closest("button")); });
  const watch = new ResizeObserver((entries) => entries.forEach(({ target }) => {
    if (+target.dataset.width === target.clientWidth) return;
    target.dataset.width = target.clientWidth;
    redraw.filter(([host]) => host === target).forEach(([, render]) => render());
  }));
  redraw.forEach(([host]) => { host.dataset.width = host.clientWidth; watch.observe(host); });
  let wanted = "";
  try { wanted = decodeURIComponent(location.hash.slice(1)); } catch { /* an address that somebody cut off */ }
  const known = data.models.flatMap((model) => model.points.map((p) => p.id));
  data.models.forEach((model) => model.chosen && describe(model, model.points.find((p) => p.id === model.chosen)));
  if (known.includes(wanted)) pick(wanted, true);
  document.documentElement.dataset.drawn = "yes";
})();
