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

// Which trial a rule chooses, by the select prompts like `procon choose`; null where none has all that it asks for.
function chooseBy(rule, model, objectives) {
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
  const chosen = keepers[0] || nearest;
  if (!chosen || !rule.bounds.every((bound) => isFinite(limit(bound, seen)))) return null;
  return {
    point: chosen.point, keeps: chosen.keeps, finished: candidates.length, keepers: keepers.map((one) => one.point),
    metrics: [...new Set(metrics)],
    bounds: rule.bounds.map((bound) => ({ ...bound, limit: limit(bound, shown), value: chosen.point.values[bound.metric], holds: holds(bound, chosen.point, shown) })),
  };
}

function ruleBox(model) {
  const host = document.getElementById(`rule-${model.place}`);
  if (!host) return;
  const label = make("label", {}, host, "Rule ");
  const input = make("input", { type: "text", value: model.rule, spellcheck: "false" }, label);
  const button = make("button", { type: "button" }, host, "choose");
  const answer = make("div", { "aria-live": "polite" }, host);
  const references = model.points.filter((p) => p.reference).map((p) => p.reference);
  const ask = () => {
    answer.replaceChildren();
    let found, unshown;
    try {
      const rule = parseRule(input.value, data.measured, references, data.aims);  // of all, so that short names mean what they mean there
      unshown = [...rule.aims.map(([metric]) => metric), ...rule.bounds.map((bound) => bound.metric)].filter((metric) => !data.titles[metric]);
      found = unshown.length ? null : chooseBy(rule, model, data.objectives);
    } catch (fault) {
      if (!(fault instanceof RuleFault)) throw fault;
      make("pre", { class: "fault" }, answer, fault.message);
      return;
    }
    if (!found) {
      make("p", {}, answer, unshown.length ? `${unshown.join(", ")}: measured, but not on this page. The command knows it:` : "No trial and reference measured all that the rule asks for.");
      if (unshown.length) theCommand(answer, input.value);
      return;
    }
    const others = found.keepers.filter((p) => p !== found.point).slice(0, 2).map((p) => p.name);
    make("p", { class: "take" }, answer, found.keeps
      ? `Take ${found.point.name}: the best of ${found.keepers.length} that keep the rule, of ${found.finished} finished.`
      : `No trial keeps the rule; ${found.point.name} comes nearest, of ${found.finished} finished.`);
    const list = make("ul", { class: "facts" }, answer);
    for (const metric of found.metrics.filter((m) => !found.bounds.some((bound) => bound.metric === m)))
      make("li", {}, list, `${data.titles[metric]} ${measured(found.point.values[metric])}`);
    for (const bound of found.bounds)
      make("li", bound.holds ? {} : { class: "broken" }, list, `${data.titles[bound.metric]} ${measured(bound.value)}, ${bound.holds ? "within" : "beyond"} ${bound.sign} ${number(bound.limit)}`);
    if (others.length) make("li", {}, list, `next: ${others.join(", ")}`);
    make("p", { class: "quiet" }, answer, `${data.split ? "Chosen by the select prompts, shown by the report prompts. " : ""}How sure that is, and what it costs against the others:`);
    theCommand(answer, input.value);
    pick(found.point.id);
  };
  button.addEventListener("click", ask);
  input.addEventListener("keydown", (event) => { if (event.key === "Enter") ask(); });
}

function theCommand(host, rule) {
  const line = make("div", { class: "command" }, host);
  make("code", {}, line, `${data.choose}${shellQuoted(rule)}`);
  make("button", { type: "button" }, line, "copy");
}

function shellQuoted(text) { return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\"'\"'")}'`; }
