// Settings and objectives of every trial side by side; a span drawn on an axis leaves out the others everywhere.
function axisOf(model, key) {
  const raw = (p) => key.startsWith("p:") ? p.params[key.slice(2)] : p.values[key]?.[0];
  const values = model.points.filter((p) => !p.reference).map(raw).filter((value) => value !== undefined && value !== null);
  const numeric = values.every((value) => typeof value === "number");
  const kinds = numeric ? [] : [...new Set(values.map(String))].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  const of = (p) => { const value = raw(p); return value === undefined || value === null ? null : numeric ? value : kinds.indexOf(String(value)); };
  const known = numeric ? values : kinds.map((_, index) => index);
  const low = Math.min(...known), high = Math.max(...known), log = numeric && key.startsWith("p:") && low > 0 && high / low > 20;
  const place = (value) => low === high ? 0.5 : log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
  const back = (share) => log ? low * (high / low) ** share : low + share * (high - low);
  return { key, name: key.startsWith("p:") ? key.slice(2) : data.titles[key], kinds, of, low, high, place, back, distinct: new Set(values.map(String)).size };
}

const FADED_BY = (model, p) => !p.reference && (model.view.only && p.role !== "front" || Object.entries(model.view.spans).some(([key, [low, high]]) => {
  const axis = model.axes.find((each) => each.key === key), value = axis && axis.of(p);
  return axis && (value === null || value < low || value > high);
}));

function parallel(model) {
  const host = document.getElementById(`parallel-${model.place}`);
  if (!host || model.axes.length < 2) return;
  const spans = model.view.spans;
  const render = () => {
    const width = Math.max(240, host.clientWidth), height = 250, top = 34, bottom = 18, side = 44;
    const step = (width - 2 * side) / (model.axes.length - 1), px = (index) => side + index * step, py = (share) => height - bottom - share * (height - top - bottom);
    const focused = host.contains(document.activeElement) ? document.activeElement.getAttribute("data-axis") : null;
    host.replaceChildren();
    const svg = make("svg:svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `Settings and objectives of the trials of ${model.model}` }, host);
    const trials = model.points.filter((p) => !p.reference).map((p) => [p, FADED_BY(model, p)]).sort((a, b) => b[1] - a[1]);
    for (const [p, faded] of trials) {
      let path = "", last = false;
      model.axes.forEach((axis, index) => {
        const value = axis.of(p);
        if (value !== null) path += `${last ? "L" : "M"}${px(index).toFixed(1)},${py(axis.place(value)).toFixed(1)}`;
        last = value !== null;
      });
      const line = make("svg:path", { d: path, "data-id": p.id, class: `way ${p.role}${faded ? " faded" : ""}${picked === p.id ? " picked" : ""}` }, svg);
      line.style.stroke = model.colour(p);
      make("svg:title", {}, line, p.name);
      line.addEventListener("click", () => pick(p.id));
    }
    const characters = Math.max(6, Math.floor(step / 6.2));
    const short = (text) => text.length > characters ? `${text.slice(0, characters - 1)}\u2026` : text;
    model.axes.forEach((axis, index) => {
      const said = spans[axis.key] ? `, only ${spans[axis.key].map((end) => axis.kinds[Math.round(end)] ?? number(end)).join(" to ")}` : "";
      const group = make("svg:g", { tabindex: 0, role: "button", "data-axis": axis.key, class: "axis-line",
        "aria-label": `${axis.name}${said}; arrow up and down narrow it, Escape takes all` }, svg);
      make("svg:title", {}, group, axis.name);
      make("svg:rect", { x: px(index) - 12, y: top - 8, width: 24, height: height - top - bottom + 16, class: "hit" }, group);
      make("svg:line", { x1: px(index), x2: px(index), y1: top, y2: height - bottom }, group);
      const anchor = index === 0 ? "start" : index === model.axes.length - 1 ? "end" : "middle", at = index === 0 ? 2 : index === model.axes.length - 1 ? width - 2 : px(index);
      make("svg:text", { x: at, y: 12, "text-anchor": anchor, class: "name" }, svg, short(axis.name));
      const end = (value) => short(axis.kinds[value] ?? number(value));
      make("svg:text", { x: at, y: 26, "text-anchor": anchor }, svg, end(axis.high));
      make("svg:text", { x: at, y: height - 3, "text-anchor": anchor }, svg, end(axis.low));
      if (spans[axis.key]) {
        const [low, high] = spans[axis.key].map((value) => py(axis.place(value)));
        make("svg:rect", { x: px(index) - 6, width: 12, y: high - 2, height: low - high + 4, class: "span" }, group);
      }
      const share = (event) => { const box = host.firstElementChild.getBoundingClientRect(); return Math.min(1, Math.max(0, (height - bottom - (event.clientY - box.top) * height / box.height) / (height - top - bottom))); };
      group.addEventListener("pointerdown", (event) => {
        const from = share(event);
        const move = (later) => span(axis, from, share(later));
        const up = (later) => {
          removeEventListener("pointermove", move);
          if (Math.abs(share(later) - from) < 0.02) span(axis);
        };
        event.preventDefault();
        addEventListener("pointermove", move);
        addEventListener("pointerup", up, { once: true });
      });
      group.addEventListener("keydown", (event) => {
        const ends = (spans[axis.key] || [axis.low, axis.high]).map(axis.place);
        if (event.key === "ArrowUp") span(axis, Math.min(ends[0] + 0.05, ends[1]), ends[1]);
        else if (event.key === "ArrowDown") span(axis, ends[0], Math.max(ends[1] - 0.05, ends[0]));
        else if (event.key === "Escape") span(axis);
        else return;
        event.preventDefault();
      });
    });
    if (focused) svg.querySelector(`[data-axis="${CSS.escape(focused)}"]`)?.focus();
  };
  const span = (axis, one, other) => {
    if (one === undefined) delete spans[axis.key];
    else {
      const [from, to] = [Math.min(one, other), Math.max(one, other)];  // close to an end, the end is meant
      spans[axis.key] = [from < 0.02 ? axis.low : axis.back(from), to > 0.98 ? axis.high : axis.back(to)];
    }
    show(model);
  };
  model.renderers.push(render);
  redraw.push([host, render]);
  render();
}
