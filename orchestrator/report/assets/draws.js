// Draws of what trials may truly score, paired by prompt: what sweeps/statistics/posterior.py does, by luck of its own.
const DRAWS = 2000;

// A source of luck that is the same wherever the same name asks for it.
function generator(name) {
  let state = 2166136261;
  for (const sign of name) state = Math.imul(state ^ sign.codePointAt(0), 16777619);
  const uniform = () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return (((mixed ^ (mixed >>> 14)) >>> 0) + 0.5) / 4294967296;
  };
  const normal = () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
  const gamma = (shape) => {  // Marsaglia and Tsang (2000)
    if (shape < 1) return gamma(shape + 1) * uniform() ** (1 / shape);
    const d = shape - 1 / 3, c = 1 / Math.sqrt(9 * d);
    for (;;) {
      const x = normal(), v = (1 + c * x) ** 3;
      if (v > 0 && Math.log(uniform()) < 0.5 * x * x + d - d * v + d * Math.log(v)) return d * v;
    }
  };
  return { uniform, normal, gamma };
}

const LUCK = new Map();
function shared(name, draw) {
  if (!LUCK.has(name)) { const luck = generator(name); LUCK.set(name, Float32Array.from({ length: DRAWS }, () => draw(luck))); }
  return LUCK.get(name);
}
const weightsOf = (prompt) => shared(`prompt ${prompt}`, (luck) => -Math.log(luck.uniform()));

// Values that a metric of a trial or reference may have; null where nothing is known of its error.
function drawsOf(model, point, metric) {
  point.drawn ??= {};
  return point.drawn[metric] ??= point.luck[metric] ? drawn(model, point, metric, ...point.luck[metric]) : null;
}

function drawn(model, point, metric, kind, ...told) {
  const own = generator(`${model.model} ${point.id} ${metric}`), found = new Float64Array(DRAWS);
  if (kind === "prompts") return rateOf(model, model.asked[metric], told, own);
  for (let i = 0; i < DRAWS; i++) {
    if (kind === "rate") { const yes = own.gamma(told[0] + 0.5); found[i] = yes / (yes + own.gamma(told[1] - told[0] + 0.5)); }
    else if (kind === "mean") found[i] = told[0] + told[1] * own.normal();
    else found[i] = told[0] + told[1] * own.normal() / Math.sqrt(own.gamma(told[2] / 2) * 2 / told[2]);
  }
  return found;
}

// The weighted share of prompts that show the event, over training seeds; prompts of half a weight with and without it.
function rateOf(model, prompts, seeds, own) {
  const all = new Float64Array(DRAWS), shown = seeds.map(() => new Float64Array(DRAWS));
  prompts.forEach((prompt, at) => {
    const trit = (letters) => Math.floor((letters.charCodeAt(Math.floor(at / 3)) - 65) / 3 ** (2 - at % 3)) % 3;
    if (!trit(seeds[0][1])) return;
    const weights = weightsOf(prompt);
    for (let i = 0; i < DRAWS; i++) all[i] += weights[i];
    seeds.forEach(([, letters], seed) => { if (trit(letters) === 2) for (let i = 0; i < DRAWS; i++) shown[seed][i] += weights[i]; });
  });
  const count = seeds.length, found = new Float64Array(DRAWS);
  const shares = count === 1 ? [null] : seeds.map(([seed]) => shared(`seed ${count} ${model.model} ${seed}`, (luck) => luck.gamma((count - 1) / count)));
  for (let i = 0; i < DRAWS; i++) {
    const sum = count === 1 ? 1 : shares.reduce((total, share) => total + share[i], 0);
    const yes = shown.reduce((total, values, seed) => total + values[i] * (count === 1 ? 1 : shares[seed][i] / sum), 0);
    const with_ = own.gamma(0.5), without = own.gamma(0.5);
    found[i] = (yes + with_) / (all[i] + with_ + without);
  }
  return found;
}

// The interval that leaves out as many draws below as above.
function central(values) {
  const sorted = Float64Array.from(values).sort();
  const at = (share) => { const place = share * (sorted.length - 1), low = Math.floor(place); return sorted[low] + (place - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low]); };
  return [at(0.025), at(0.975)];
}
