// Draws the page from the JSON beside it; what is picked or left out is so in every figure, table and the address.
// What is picked is picked everywhere: in figures, in the table, in the details and in the address.
let picked = null;
const redraw = [];
function pick(id, quiet) {
  picked = id;
  document.querySelectorAll(".picked").forEach((each) => each.classList.remove("picked"));
  document.querySelectorAll(`[data-id="${CSS.escape(id)}"]`).forEach((each) => each.classList.add("picked"));
  for (const model of data.models) {
    const point = model.points.find((each) => each.id === id);
    if (point) { describe(model, point); model.heat?.(point); }
  }
  if (!quiet) keepAddress();
}

// The address keeps what is picked and, by model, axes, colour and what is left out.
function keepAddress() {
  const kept = picked === null ? [] : [encodeURIComponent(picked)];
  for (const { place, view } of data.models.filter((model) => model.view)) {
    const usual = usualView();
    for (const name of ["x", "y", "color", "all", "only"]) if (view[name] !== usual[name]) kept.push(`${name}${place}=${encodeURIComponent(view[name])}`);
    for (const [key, ends] of Object.entries(view.spans)) kept.push(`span${place}=${encodeURIComponent(`${ends.join("~")}~${key}`)}`);
  }
  // MLflow shows the page in a frame without an address of its own, where there is nothing to keep.
  try { history.replaceState(null, "", `#${kept.join("&")}`); } catch { /* picked all the same */ }
}

function usualView() {
  return { x: data.x.metric, y: data.y ? data.y.metric : null, color: data.color, all: false, only: false, spans: {} };
}

function fromAddress() {
  const parts = location.hash.slice(1).split("&").map((part) => part.split("=").map((text) => { try { return decodeURIComponent(text); } catch { return ""; } }));
  for (const model of data.models) model.view = usualView();
  for (const [name, value] of parts) {
    const [, what, place] = /^(x|y|color|all|only|span)(\d+)$/.exec(value === undefined ? "" : name) || [];
    const model = what && data.models[+place];
    if (!model) continue;
    const metrics = Object.keys(data.titles);
    if (what === "all" || what === "only") model.view[what] = value === "true";
    else if (what === "span") {
      const [low, high, ...key] = value.split("~");
      if (low && high && +low <= +high && key.length) model.view.spans[key.join("~")] = [+low, +high];
    } else if (metrics.includes(value) || what === "color" && (value === "" || value.startsWith("p:"))) model.view[what] = value;
  }
  return parts.find(([, value]) => value === undefined)?.[0] || "";
}

// Everything of a model again, after what is shown has changed.
function show(model) {
  model.renderers.forEach((render) => render());
  const faded = new Set(model.points.filter((p) => FADED_BY(model, p)).map((p) => p.id));
  document.querySelectorAll(`#trials-${model.place} tr[data-id]`).forEach((row) => row.classList.toggle("faded", faded.has(row.dataset.id)));
  const left = document.getElementById(`left-${model.place}`);
  if (left) left.textContent = faded.size ? `${faded.size} trial${faded.size > 1 ? "s" : ""} left out; Escape on an axis takes all again` : "";
  keepAddress();
}

function hover(id) {
  document.querySelectorAll(".hovered").forEach((each) => each.classList.remove("hovered"));
  if (id) document.querySelectorAll(`[data-id="${CSS.escape(id)}"]`).forEach((each) => each.classList.add("hovered"));
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
  Object.entries(point.curves).forEach(([title, points], at) => {
    make("div", { class: "quiet" }, host, title);
    const chart = make("div", { class: "chart small", id: `curve-${model.place}-${at}` }, host);
    lines(chart, { label: `${title} of ${point.name} by step`, height: 120, lines: [{ name: title, points, shade: null, reference: null }] }, false);
  });
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
  const view = model.view;
  const controls = document.getElementById(`controls-${model.place}`);
  const axes = document.getElementById(`axes-${model.place}`);
  const names = Object.keys(data.titles), params = [...new Set(model.points.flatMap((p) => Object.keys(p.params)))];
  const choose = (label, options, value, change) => {
    const select = make("select", {}, make("label", {}, controls, `${label} `));
    for (const [key, text] of options) make("option", key === value ? { value: key, selected: "" } : { value: key }, select, text);
    select.addEventListener("change", () => { change(select.value); show(model); });
  };
  const metrics = names.map((name) => [name, data.titles[name]]);
  choose("across", metrics, view.x, (value) => { view.x = value; });
  if (data.y) choose("up", metrics, view.y, (value) => { view.y = value; });
  choose("colour", [["", "none"], ...params.map((name) => [`p:${name}`, name]), ...metrics], view.color, (value) => { view.color = value; });
  for (const [name, text] of [["all", " show all"], ["only", " front only"]]) {
    const box = make("input", { type: "checkbox" }, make("label", {}, controls, ""));
    box.after(text);
    box.checked = view[name];
    box.addEventListener("change", () => { view[name] = box.checked; show(model); });
  }
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
    model.colour = (p) => (shades && shades.of(colourOf(p))) || (view.color ? "#8a94a0" : "#0072B2");
    const points = model.points.map((p) => ({ ...p, x: x(p), y: y(p), named: p.reference || p.role === "front",
      color: model.colour(p), faded: FADED_BY(model, p) }))
      .sort((a, b) => a.order - b.order);
    draw(host, { label: `Trials of ${model.model}`, points, outside,
      x: { range: span(x, true), name: data.titles[view.x] }, y: { range: span(y, true), name: data.titles[view.y], hidden: !view.y },
      lines: !usual ? [] : [
        ...model.scaled.map((line) => ({ ...line, class: `scaled ref-${line.reference}`, dash: "4 3" })),
        ...(model.stairs.length ? [{ class: "stairs", points: model.stairs }] : [])] });
    axes.replaceChildren();
    const arrow = (metric) => metric === data.x.metric ? ` (${data.x.better})` : data.y && metric === data.y.metric ? ` (${data.y.better})` : "";
    document.getElementById(`up-${model.place}`).textContent = view.y ? `\u2191 ${data.titles[view.y]}${arrow(view.y)}` : "best at the top";
    make("p", { class: "axis x" }, axes, `${data.titles[view.x]}${arrow(view.x)} \u2192`);
    legend(axes, model, shades, view.color.startsWith("p:") ? view.color.slice(2) : data.titles[view.color]);
  }
  model.renderers.push(render);
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
  if (shades) scaleEntry(list, shades, title);
}

function scaleEntry(list, shades, title) {
  const item = make("li", { class: "scale" }, list);
  item.append(`${title}${shades.log ? " (log)" : ""}: ${number(shades.low)} `);
  const scale = make("svg:svg", { viewBox: "0 0 9 1", preserveAspectRatio: "none" }, item);
  VIRIDIS.forEach((color, at) => make("svg:rect", { x: at, width: 1.05, height: 1, fill: color }, scale));
  item.append(` ${number(shades.high)}`);
}

function lines(host, figure, stays = true, model = null) {
  if (!host) return;
  const ys = figure.lines.flatMap((line) => line.points.map((p) => p[1]).filter((y) => y !== null));
  const xs = figure.lines.flatMap((line) => line.points.map((p) => p[0]));
  const pad = 0.05 * (Math.max(...ys) - Math.min(...ys)) || 0.05;
  const range = [Math.min(...ys) - pad, Math.max(...ys) + pad], across = [Math.min(...xs), Math.max(...xs)];
  if (across[0] === across[1]) { across[0] -= 0.5; across[1] += 0.5; }
  const shades = colours(figure.lines.map((line) => line.shade));
  const point = (line) => model && model.points.find((p) => p.name === line.name);
  const render = () => draw(host, { label: figure.label, height: figure.height || 340, points: [], x: { range: across }, y: { range },
    lines: figure.lines.map((line) => ({ ...line, id: point(line)?.id, faded: point(line) && FADED_BY(model, point(line)), class: line.reference ? `reference ref-${line.reference}` : "",
      color: line.reference ? "currentColor" : (shades && shades.of(line.shade)) || "#8a94a0",
      dash: { ift: "7 4", ift_safety: "2 4" }[line.reference] })) });
  if (stays) redraw.push([host, render]);
  if (model) model.renderers.push(render);
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

const wanted = fromAddress();
data.models.forEach((model) => {
  model.renderers = [];
  const settings = [...new Set(model.points.flatMap((p) => Object.keys(p.params)))].map((name) => `p:${name}`);
  model.axes = [...settings, ...data.objectives.map(([metric]) => metric)].map((key) => axisOf(model, key)).filter((axis) => axis.distinct > 1);
  scatter(model);
  parallel(model);
  surface(model);
  heat(model);
  ruleBox(model);
  for (const figure of model.figures) lines(document.getElementById(figure.host), figure, true, model);
});
sideBySide();
document.querySelectorAll("table.sortable").forEach(sortable);
document.addEventListener("click", (event) => { if (event.target.closest(".command button")) copy(event.target.closest("button")); });
document.addEventListener("pointerover", (event) => hover(event.target.closest("[data-id]")?.getAttribute("data-id")));
const watch = new ResizeObserver((entries) => entries.forEach(({ target }) => {
  if (+target.dataset.width === target.clientWidth) return;
  target.dataset.width = target.clientWidth;
  redraw.filter(([host]) => host === target).forEach(([, render]) => render());
}));
redraw.forEach(([host]) => { host.dataset.width = host.clientWidth; watch.observe(host); });
const known = data.models.flatMap((model) => model.points.map((p) => p.id));
data.models.forEach((model) => model.chosen && describe(model, model.points.find((p) => p.id === model.chosen)));
if (known.includes(wanted)) pick(wanted, true);
data.models.forEach((model) => { if (Object.keys(model.view.spans).length || model.view.only) show(model); });
document.documentElement.dataset.drawn = "yes";
