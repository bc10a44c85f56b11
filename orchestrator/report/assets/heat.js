// How far the refusal direction has turned by layer and step, of what is picked: a map, and the same as a table.
function heat(model) {
  const host = document.getElementById(`heat-${model.place}`), below = document.getElementById(`heat-below-${model.place}`);
  const known = model.points.filter((p) => p.drift);
  if (!host || !known.length) return;
  const low = Math.min(...known.flatMap((p) => p.drift.cosines.flat().filter((value) => value !== null)));
  const shades = colours([low, 1]) || { of: () => VIRIDIS[8], low, high: 1 };
  let shown = known.find((p) => p.chosen) || known[0];
  const stepName = (step, at, steps) => step === null ? "end" : at === steps.length - 1 ? `${step} (end)` : String(step);
  const render = () => {
    const { steps, layers, cosines } = shown.drift;
    const left = 34, top = 6, bottom = 22, width = Math.min(Math.max(240, host.clientWidth), left + 150 * steps.length), tall = layers.length > 12 ? 18 : 28;
    const across = (width - left - 2) / steps.length, height = top + tall * layers.length + bottom;
    host.replaceChildren();
    const svg = make("svg:svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "data-drift-of": shown.id, "data-width": width,
      "aria-label": `Cosine with the direction before training of ${shown.name}, ${layers.length} layers by ${steps.length} step${steps.length > 1 ? "s" : ""}; the table below has the values` }, host);
    svg.style.maxWidth = `${width}px`;
    layers.forEach((layer, row) => {
      const y = top + (layers.length - 1 - row) * tall;
      make("svg:text", { x: left - 6, y: y + tall / 2 + 4, "text-anchor": "end" }, svg, layer);
      steps.forEach((step, at) => {
        const value = cosines[row][at];
        if (value === null) return;
        const cell = make("svg:rect", { x: left + at * across, y, width: across - 1, height: tall - 1, fill: shades.of(value), "data-cosine": value }, svg);
        make("svg:title", {}, cell, `layer ${layer}, step ${stepName(step, at, steps)}: ${two(value)}`);
        if (across > 34) make("svg:text", { x: left + (at + 0.5) * across, y: y + tall / 2 + 4, "text-anchor": "middle", class: VIRIDIS.indexOf(shades.of(value)) < 5 ? "on-dark" : "on-light" }, svg, two(value));
      });
    });
    steps.forEach((step, at) => make("svg:text", { x: left + (at + 0.5) * across, y: height - 6, "text-anchor": "middle" }, svg, stepName(step, at, steps)));
  };
  const tell = () => {
    const { steps, layers, cosines } = shown.drift;
    const wasOpen = below.querySelector("details")?.open;
    below.replaceChildren();
    const list = make("ul", { class: "legend" }, below);
    scaleEntry(list, shades, "cosine");
    make("li", {}, list, "\u2191 decoder layer; across: optimizer step");
    if (steps.length === 1) make("p", { class: "quiet" }, below, `The drift of ${shown.name} was measured ${steps[0] === null ? "at the end" : `at step ${steps[0]}`} alone, so that there is one step.`);
    const details = make("details", wasOpen ? { open: "" } : {}, below);
    make("summary", {}, details, `The drift of ${shown.name} as a table`);
    const table = make("table", {}, make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "drift by layer and step" }, details));
    const head = make("tr", {}, make("thead", {}, table)), body = make("tbody", {}, table);
    make("th", { scope: "col" }, head, "layer");
    steps.forEach((step, at) => make("th", { scope: "col", class: "number" }, head, `step ${stepName(step, at, steps)}`));
    layers.forEach((layer, row) => {
      const line = make("tr", {}, body);
      make("th", { scope: "row" }, line, layer);
      cosines[row].forEach((value) => make("td", { class: "number" }, line, value === null ? "" : value.toFixed(3)));
    });
  };
  const title = document.getElementById(`heat-of-${model.place}`);
  model.heat = (point) => {
    title.textContent = point.drift ? point.name : `${shown.name} (of ${point.name} none was measured)`;
    if (!point.drift) return;
    shown = point;
    render();
    tell();
  };
  redraw.push([host, render]);
  model.heat(shown);
}
