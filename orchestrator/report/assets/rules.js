// Rules by which one trial is chosen: the grammar of sweeps/goals/choice_rule.py, asked of what the page knows.
const TOKENS = /(?<space>\s+)|(?<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*%?)|(?<quoted>"[^"]*")|(?<name>[A-Za-z_](?:[\p{L}\p{N}_/.]|-(?=[A-Za-z_]))*)|(?<sign><=|>=|<|>|\u2264|\u2265|[-+,])/uy;
const ROUNDING = 1e-9;

class RuleFault extends Error {
  constructor(text, at, says) {
    const place = [...text.slice(0, at)].length;
    super(`character ${place + 1}: ${says}\n${text}\n${" ".repeat(place)}^`);
    this.place = place + 1;
  }
}

// {bounds: [{metric, sign, constant, references: [[1 or -1, label]]}], aims: [[metric, "minimize" or "maximize"]]}
function parseRule(text, metrics, references, otherwise) {
  const tokens = [];
  for (let at = 0; at < text.length;) {
    TOKENS.lastIndex = at;
    const match = TOKENS.exec(text);
    if (!match) throw new RuleFault(text, at, `'${String.fromCodePoint(text.codePointAt(at))}' has no place in a rule`);
    const kind = Object.keys(match.groups).find((name) => match.groups[name] !== undefined);
    if (kind !== "space") tokens.push({ kind, text: { "\u2264": "<=", "\u2265": ">=" }[match[0]] ?? match[0], at });
    at = TOKENS.lastIndex;
  }
  tokens.push({ kind: "end", text: "", at: text.trimEnd().length });
  let next = 0;
  const take = () => tokens[next < tokens.length - 1 ? next++ : next];
  const fault = (token, says) => new RuleFault(text, token.at, says);

  function metric(token) {
    if (token.kind !== "name" && token.kind !== "quoted") throw fault(token, "a metric should stand here, or min or max and a metric");
    const name = token.text.replace(/^"+|"+$/g, "");
    if (metrics.includes(name)) return name;
    const ends = metrics.filter((each) => each.endsWith(`/${name}`)), parts = (each) => each.split("/").length;
    const found = ends.filter((each) => parts(each) === Math.min(...ends.map(parts))).sort();
    if (found.length === 1) return found[0];
    if (found.length) throw fault(token, `${name} could be ${found.join(" or ")}: write more of it`);
    throw fault(token, `${name} is not a metric that this sweep measured: choose one of ${Object.keys(data.titles).join(", ")}`);
  }
  function reference(token) {
    const name = token.text.replace(/^"+|"+$/g, "");
    if (references.includes(name)) return name;
    throw fault(token, `${name} is not a reference that was measured (${references.join(", ") || "none"}): write a number or one of these`);
  }
  function sum() {
    const found = { constant: 0, references: [] };
    let sign = 1;
    if (tokens[next].text === "-") { take(); sign = -1; }
    for (;;) {
      const token = take();
      if (token.kind === "number")
        found.constant += sign * (token.text.endsWith("%") ? parseFloat(token.text) / 100 : parseFloat(token.text));
      else if (token.kind === "name" || token.kind === "quoted") found.references.push([sign, reference(token)]);
      else throw fault(token, "a number or a reference should stand here");
      if (tokens[next].text !== "+" && tokens[next].text !== "-") return found;
      sign = take().text === "+" ? 1 : -1;
    }
  }
  const bounds = [], aims = [];
  for (;;) {
    const token = take();
    if (token.kind === "name" && (token.text === "min" || token.text === "max")) aims.push([metric(take()), `${token.text}imize`]);
    else {
      const bounded = metric(token), compared = take();
      if (!["<=", ">=", "<", ">"].includes(compared.text)) throw fault(compared, `one of <= >= < > should follow ${token.text}`);
      bounds.push({ metric: bounded, sign: compared.text, ...sum() });
    }
    const after = take();
    if (after.kind === "end") return { bounds, aims: aims.length ? aims : otherwise };
    if (after.text !== ",") throw fault(after, "a comma or the end of the rule should stand here");
  }
}

// Which trial a rule chooses, like `procon choose`, and what else there is; null where none has all that it asks for.
function chooseBy(rule, model, objectives, likely) {
  const references = Object.fromEntries(model.points.filter((p) => p.reference).map((p) => [p.reference, p]));
  const limit = (bound, values) => bound.references.reduce((sum, [sign, label]) => sum + sign * values(references[label], bound.metric), bound.constant);
  const seen = (p, metric) => p.select[metric] ?? NaN, shown = (p, metric) => p.values[metric]?.[0] ?? NaN;
  const slack = (bound, p, values) => {
    const distance = limit(bound, values) - values(p, bound.metric);
    return bound.sign[0] === "<" ? distance : -distance;
  };
  const holds = (bound, p, values) => { const by = slack(bound, p, values); return bound.sign.length === 2 ? by >= -ROUNDING : by > ROUNDING; };
  const metrics = [...rule.aims.map(([metric]) => metric), ...rule.bounds.map((bound) => bound.metric)];
  const order = [...rule.aims, ...objectives];
  const candidates = model.points.filter((p) => !p.reference && metrics.every((m) => isFinite(seen(p, m)) && isFinite(shown(p, m))))
    .map((p) => ({
      point: p, keeps: rule.bounds.every((bound) => holds(bound, p, seen)),
      violation: -rule.bounds.reduce((sum, bound) => sum + Math.min(0, slack(bound, p, seen)), 0),
      rank: order.map(([metric, goal]) => { const v = p.select[metric] ?? Infinity; return goal === "maximize" && v < Infinity ? -v : v; }),
    }));
  const before = (a, b) => { const at = a.findIndex((value, index) => value !== b[index]); return at < 0 ? 0 : a[at] - b[at]; };
  const keepers = candidates.filter((one) => one.keeps).sort((a, b) => before(a.rank, b.rank));
  const nearest = [...candidates].sort((a, b) => a.violation - b.violation || before(a.rank, b.rank))[0];
  const best = keepers[0] || nearest;
  if (!best || !rule.bounds.every((bound) => isFinite(limit(bound, seen)))) return null;
  // Probability that all bounds hold on prompts that nobody chose by; null where a metric has no known error.
  const sure = (p) => {
    const kept = new Uint8Array(DRAWS).fill(1);
    for (const bound of rule.bounds) {
      const values = drawsOf(model, p, bound.metric), others = bound.references.map(([sign, label]) => [sign, drawsOf(model, references[label], bound.metric)]);
      if (!values || others.some(([, draws]) => !draws)) return null;
      const way = bound.sign[0] === "<" ? 1 : -1, strict = bound.sign.length === 1;
      for (let i = 0; i < DRAWS; i++) {
        const slack = way * (others.reduce((sum, [sign, draws]) => sum + sign * draws[i], bound.constant) - values[i]);
        if (strict ? slack <= ROUNDING : slack < -ROUNDING) kept[i] = 0;
      }
    }
    return kept.reduce((sum, one) => sum + one, 0) / DRAWS;
  };
  const first = (wanted) => keepers.find((one) => {
    if (wanted >= 0.5 && !rule.bounds.every((bound) => holds(bound, one.point, shown))) return false;
    const chance = wanted > 0 ? sure(one.point) : null;
    return chance === null || chance >= wanted;
  });
  const chosen = first(likely) || best, chance = sure(chosen.point);
  const names = [...new Set(metrics)];
  const against = (p, kind, name) => ({
    point: p, kind, name, sure: sure(p),
    differences: names.map((metric) => {
      const [ours, theirs] = [chosen.point, p].map((one) => drawsOf(model, one, metric));
      return ours && theirs ? [shown(chosen.point, metric) - shown(p, metric), ...central(ours.map((value, i) => value - theirs[i]))] : null;
    }),
  });
  const all = (p) => names.every((m) => isFinite(seen(p, m)) && isFinite(shown(p, m)));
  let others = model.points.filter((p) => p.reference && all(p)).map((p) => against(p, "reference", p.name));
  if (chosen !== best) others.push(against(best.point, "passed over", `${best.point.name} (passed over)`));
  if (chosen.keeps) for (const one of keepers.slice(keepers.indexOf(chosen) + 1).slice(0, 2)) others.push(against(one.point, "runner-up", `${one.point.name} (next)`));
  const surer = chance !== null && chance < data.sure ? first(data.sure) : null;
  if (surer) others = [...others.filter((one) => one.point !== surer.point), against(surer.point, "surer", `${surer.point.name} (surer)`)];
  const beyond = candidates.filter((one) => !one.keeps && before(one.rank, chosen.rank) < 0).sort((a, b) => a.violation - b.violation || before(a.rank, b.rank))[0];
  if (beyond) others.push(against(beyond.point, "beyond the rule", `${beyond.point.name} (beyond)`));
  return {
    point: chosen.point, keeps: chosen.keeps, sure: chance, likely, doubtful: chosen.keeps && chance !== null && chance < likely,
    finished: candidates.length, keepers: keepers.map((one) => one.point), metrics: names, others,
    bounds: rule.bounds.map((bound) => ({ ...bound, limit: limit(bound, shown), value: chosen.point.values[bound.metric], holds: holds(bound, chosen.point, shown) })),
  };
}

const percent = (share) => share < 0.01 ? "less than 1 %" : share > 0.99 ? "more than 99 %" : `${Math.round(100 * share)} %`;
const breaks = (chance) => chance <= 0.1 ? "very likely breaks the rule" : chance < 0.5 ? "is more likely to break the rule than to keep it" : "is not sure enough to keep the rule";

// What must not be missed, as the command says it.
function warningOf(found) {
  if (found.doubtful)
    return `${found.point.name} ${breaks(found.sure)} on the prompts that it was not chosen by: it keeps it with a probability of ${percent(found.sure)}. No trial that keeps the rule on the select prompts does so with ${percent(found.likely)}.`;
  const passed = found.others.find((one) => one.kind === "passed over");
  return passed ? `${passed.point.name} is better by its aim on the select prompts, but ${breaks(passed.sure)} on the prompts that nobody chose by (it keeps it with a probability of ${percent(passed.sure)}), and was passed over.` : "";
}

// What else there is: how surely it keeps the rule, what it has, and how far the chosen trial is from it.
function alternatives(host, found) {
  if (!found.others.length) return;
  const signed = (value) => `${value < 0 ? "\u2212" : "+"}${two(Math.abs(value))}`;
  const scroll = make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "what else there is" }, host);
  const table = make("table", {}, scroll), head = make("tr", {}, make("thead", {}, table)), body = make("tbody", {}, table);
  for (const title of ["", "keeps the rule", ...found.metrics.map((metric) => data.titles[metric])]) make("th", { scope: "col" }, head, title);
  for (const other of found.others) {
    const row = make("tr", { "data-id": other.point.id, "data-kind": other.kind }, body);
    make("th", { scope: "row" }, row, other.name);
    make("td", { class: "number" }, row, other.sure === null ? "" : percent(other.sure));
    other.differences.forEach((difference, at) => {
      const cell = make("td", { class: "number" }, row, two(other.point.values[found.metrics[at]][0]));
      if (difference) { make("br", {}, cell); make("small", {}, cell, `${signed(difference[0])} [${signed(difference[1])}, ${signed(difference[2])}]`); }
    });
    row.addEventListener("click", () => pick(other.point.id));
  }
  make("p", { class: "quiet" }, host, "Small: the chosen trial minus that one, with its 95 % interval, paired by prompt.");
}

function ruleBox(model) {
  const host = document.getElementById(`rule-${model.place}`);
  if (!host) return;
  const label = make("label", {}, host, "Rule ");
  const input = make("input", { type: "text", value: model.rule, spellcheck: "false" }, label);
  const asked = make("label", { class: "likely" }, host, "kept with at least ");
  const least = make("input", { type: "number", min: 0, max: 100, step: 1, value: 100 * data.likely }, asked);
  asked.append(" %");
  const button = make("button", { type: "button" }, host, "choose");
  const answer = make("div", { "aria-live": "polite" }, host);
  const references = model.points.filter((p) => p.reference).map((p) => p.reference);
  const likely = () => Math.min(1, Math.max(0, (+least.value || 0) / 100));
  const ask = () => {
    answer.replaceChildren();
    let found, unshown;
    try {
      const rule = parseRule(input.value, data.measured, references, data.aims);  // of all, so that short names mean what they mean there
      unshown = [...rule.aims.map(([metric]) => metric), ...rule.bounds.map((bound) => bound.metric)].filter((metric) => !data.titles[metric]);
      found = unshown.length ? null : chooseBy(rule, model, data.objectives, likely());
    } catch (fault) {
      if (!(fault instanceof RuleFault)) throw fault;
      make("pre", { class: "fault" }, answer, fault.message);
      return;
    }
    if (!found) {
      make("p", {}, answer, unshown.length ? `${unshown.join(", ")}: measured, but not on this page. The command knows it:` : "No trial and reference measured all that the rule asks for.");
      if (unshown.length) theCommand(answer, input.value, likely());
      return;
    }
    const passed = found.others.some((one) => one.kind === "passed over");
    make("p", { class: "take" }, answer, found.doubtful
      ? `No trial is likely to keep the rule; ${found.point.name} is the best of ${found.keepers.length} that keep it on the select prompts, of ${found.finished} finished.`
      : found.keeps
        ? `Take ${found.point.name}: the best of ${found.keepers.length} that keep the rule${passed ? ", and likely to keep it" : ""}, of ${found.finished} finished.`
        : `No trial keeps the rule; ${found.point.name} comes nearest, of ${found.finished} finished.`);
    const warned = warningOf(found);
    if (warned) make("p", { class: "note" }, answer, warned);
    const list = make("ul", { class: "facts" }, answer);
    for (const metric of found.metrics.filter((m) => !found.bounds.some((bound) => bound.metric === m)))
      make("li", {}, list, `${data.titles[metric]} ${measured(found.point.values[metric])}`);
    for (const bound of found.bounds)
      make("li", bound.holds ? {} : { class: "broken" }, list, `${data.titles[bound.metric]} ${measured(bound.value)}, ${bound.holds ? "within" : "beyond"} ${bound.sign} ${number(bound.limit)}`);
    if (found.bounds.length)
      make("li", { class: "sure" }, list, found.sure === null ? "how sure that is cannot be told, since a metric in the rule has no known error" : `it keeps the rule with a probability of ${percent(found.sure)}`);
    alternatives(answer, found);
    if (data.split) make("p", { class: "quiet" }, answer, "Chosen by the select prompts, shown by the report prompts. The command says the same:");
    theCommand(answer, input.value, likely());
    pick(found.point.id);
  };
  button.addEventListener("click", ask);
  for (const each of [input, least]) each.addEventListener("keydown", (event) => { if (event.key === "Enter") ask(); });
}

function theCommand(host, rule, likely) {
  const line = make("div", { class: "command" }, host);
  make("code", {}, line, `${data.choose}${shellQuoted(rule)}${likely === data.likely ? "" : ` --sure ${likely}`}`);
  make("button", { type: "button" }, line, "copy");
}

function shellQuoted(text) { return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\"'\"'")}'`; }
