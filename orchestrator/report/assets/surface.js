// An objective over two settings as a Gaussian process sees it: the paler, the less is known.
function surface(model) {
  const host = document.getElementById(`surface-${model.place}`);
  if (!host || !model.surfaces.length) return;
  const controls = document.getElementById(`surface-controls-${model.place}`), below = document.getElementById(`surface-below-${model.place}`);
  const title = (each) => `${data.titles[each.metric] || each.metric} over ${each.x.name} and ${each.y.name}`;
  let shown = 0;
  const select = make("select", {}, make("label", {}, controls, "show "));
  model.surfaces.forEach((each, index) => make("option", { value: index }, select, title(each)));
  const render = () => {
    const each = model.surfaces[shown], { x, y } = each;
    const width = Math.max(240, host.clientWidth), height = Math.round(Math.min(380, Math.max(240, width * 0.6)));
    const left = 54, right = 12, top = 8, bottom = 26, across = width - left - right, up = height - top - bottom;
    const flat = each.mean.flat(), shades = colours(flat) || { of: () => VIRIDIS[4], low: flat[0], high: flat[0] };
    host.replaceChildren();
    const svg = make("svg:svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": title(each) }, host);
    each.mean.forEach((row, j) => row.forEach((value, i) => {
      const unknown = Math.min(1, each.deviation[j][i] / (each.spread || 1));
      const cell = make("svg:rect", { x: left + i * across / row.length, y: top + up - (j + 1) * up / each.mean.length, width: across / row.length + 0.5,
        height: up / each.mean.length + 0.5, fill: shades.of(value), opacity: (1 - 0.85 * unknown).toFixed(2) }, svg);
      make("svg:title", {}, cell, `${number(value)} \u00b1 ${number(1.96 * each.deviation[j][i])}`);
    }));
    const share = (side, value) => side.log ? Math.log(value / side.low) / Math.log(side.high / side.low) : (value - side.low) / (side.high - side.low);
    const at = (side, part) => side.log ? side.low * (side.high / side.low) ** part : side.low + part * (side.high - side.low);
    for (const part of [0, 0.25, 0.5, 0.75, 1]) {
      make("svg:text", { x: left + part * across, y: height - 8, "text-anchor": part === 0 ? "start" : part === 1 ? "end" : "middle" }, svg, number(at(x, part)));
      make("svg:text", { x: left - 6, y: top + up * (1 - part) + (part === 1 ? 10 : 4), "text-anchor": "end" }, svg, number(at(y, part)));
    }
    for (const p of model.points.filter((one) => typeof one.params[x.name] === "number" && typeof one.params[y.name] === "number")) {
      const cx = left + share(x, p.params[x.name]) * across, cy = top + up * (1 - share(y, p.params[y.name]));
      const dot = make("svg:circle", { cx, cy, r: p.role === "front" ? 5.5 : 3.5, "data-id": p.id, class: `point tried ${p.role}${FADED_BY(model, p) ? " faded" : ""}${picked === p.id ? " picked" : ""}` }, svg);
      dot.style.fill = shades.of(p.values[each.metric]?.[0] ?? null) || "#8a94a0";
      make("svg:title", {}, dot, `${p.name}: ${measured(p.values[each.metric])}`);
      dot.addEventListener("click", () => pick(p.id));
    }
    below.replaceChildren();
    make("p", { class: "axis x" }, below, `${x.name}${x.log ? " (log)" : ""} \u2192`);
    const list = make("ul", { class: "legend" }, below);
    scaleEntry(list, shades, data.titles[each.metric] || each.metric);
    make("li", {}, list, `\u2191 ${y.name}${y.log ? " (log)" : ""}; of ${each.trials} trials; the paler, the less is known`);
  };
  select.addEventListener("change", () => { shown = +select.value; render(); });
  model.renderers.push(render);
  redraw.push([host, render]);
  render();
}
