const current = document.currentScript;
const root = current ? current.parentElement : document.querySelector(".interpreto.dashboard:not([data-drawn])");
if (!root || root.dataset.drawn) return;
root.dataset.drawn = "yes";
root.querySelector(".static")?.remove();
root.classList.add("concepts", "dashboard");

const data = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
const { concepts, outputs } = data;
for (const name of ["unit", "scale", "granularity"]) data[name] = visible(data[name]);
const sizes = data.sizes.map(decoded), effects = data.effects.map(decoded);
const places = new Map(concepts.map(({ id }, k) => [id, k]));
const PAGE = 300; // concepts that the list has at once
const BARS = 8; // outputs with a bar on either side
const alone = root.closest(".interpreto-page") !== null;

const percent = (share) => `${format(100 * share)}\u00a0%`;
const largest = concepts.map((_, k) => Math.max(0, ...sizes.map((row) => row[k])));
const ORDERS = {
  importance: ["importance", (k) => -largest[k], (k) => format(largest[k])],
  density: ["density", (k) => -concepts[k].density, (k) => percent(concepts[k].density)],
  peak: ["largest activation", (k) => -concepts[k].peak, (k) => format(concepts[k].peak)],
  number: ["number", (k) => concepts[k].id, () => ""],
};
if (outputs.length <= 12) outputs.forEach((name, output) => {
  ORDERS[`for ${output}`] = [`effect for ${shortened(name, 30)}`, (k) => -effects[output][k], (k) => format(effects[output][k], true)];
  ORDERS[`against ${output}`] = [`effect against ${shortened(name, 30)}`, (k) => effects[output][k], (k) => format(effects[output][k], true)];
});
const sought = concepts.map(({ id, name, words }) => `${id} ${name} ${words.join(" ")}`.toLowerCase());

class Dashboard extends Chooser {
  // Which concepts the list has, and in which order.
  ask() {
    this.asked = this.kept((k) => sought[k]);
    this.count = PAGE;
    this.draw();
  }

  draw() {
    const amount = ORDERS[this.order.value][2];
    this.links = new Map();
    const lines = this.asked.slice(0, this.count).map((k) => {
      const name = make("span", "name", make("span", "number", String(concepts[k].id)), isolated(concepts[k].name, 60));
      const link = attributed(make("a", "", name, make("span", "amount", amount(k))), { href: `#c${concepts[k].id}` });
      this.links.set(k, link);
      return make("li", "", link);
    });
    const left = this.asked.length - lines.length;
    if (left > 0) {
      const more = attributed(make("button", "more", `${left} more`), { type: "button" });
      more.addEventListener("click", () => { this.count += PAGE; this.draw(); this.links.get(this.asked[this.count - PAGE]).focus(); });
      lines.push(make("li", "", more));
    }
    this.list.replaceChildren(...lines);
    this.mark();
  }

  choose(k, quietly = false) {
    if (!concepts[k] || k === this.k) return;
    this.k = k;
    hideTooltip();
    this.mark();
    const { id, name, words, near, examples, density, mean, peak, verdict } = concepts[k];
    const chips = words.length ? [make("ul", "words", ...words.map((word) => make("li", "", isolated(word, 80))))] : [];
    const score = verdict === null || verdict === undefined ? [] : [["Score of the label", verdict]];
    const amounts = [...score, ["Above 0 in", `${percent(density)} of ${plural(data.granularity)}`], ["Largest activation", format(peak)], ["Mean", format(mean)], ["Importance", `${format(largest[k])} ${data.unit}`]];
    const similar = near.map(([other, cosine]) => make("li", "", attributed(make("a", "", `${other} `, isolated(concepts[places.get(other)].name, 40), ` ${format(cosine)}`), { href: `#c${other}` })));
    const title = name === `concept ${id}` ? [`Concept ${id}`] : [`Concept ${id}: `, isolated(name)];
    this.detail.replaceChildren(
      make("h2", "", ...title), ...chips, list(amounts),
      make("div", "figures", make("section", "", make("h3", "", "Activations"), ...histogram(k)), make("section", "", make("h3", "", `Effect on each ${data.output}, in ${data.unit}`), bars(k))),
      make("h3", "", "Most similar directions, by cosine"), similar.length ? make("ul", "near", ...similar) : make("p", "hint", "None is similar."),
      make("h3", "", "Texts by quantile of the activation"), ...(examples.length ? quantiles(k) : [make("p", "hint", "Nowhere above 0.")]),
      list(data.facts));
    this.detail.setAttribute("aria-label", `Concept ${id}`);
    if (!quietly) this.status.textContent = `Concept ${id}: ${shortened(name, 60)}, above 0 in ${percent(density)} of ${plural(data.granularity)}`;
  }
}

function list(facts) {
  return make("dl", "facts", ...facts.map(([name, value]) => make("div", "", make("dt", "", name), make("dd", "", isolated(value)))));
}

// Counts of activations other than 0, on a logarithmic scale.
function histogram(k) {
  const [width, above, below, zeros] = concepts[k].bins, total = [...above, ...below].reduce((a, b) => a + b, zeros);
  const bins = [...below].reverse().map((count) => [count, "bar below"]).concat(above.map((count) => [count, "bar"]));
  if (!bins.length) return [make("p", "hint", "Always 0.")];
  const top = Math.log1p(Math.max(...above, ...below)), space = "http://www.w3.org/2000/svg";
  const shape = (tag, name, places) => attributed(document.createElementNS(space, tag), { class: name, ...places });
  const drawing = shape("svg", "", { viewBox: `0 0 ${bins.length} 100`, preserveAspectRatio: "none", role: "img" });
  bins.forEach(([count, name], i) => {
    const height = count ? Math.max(2, (98 * Math.log1p(count)) / top) : 0;
    drawing.append(shape("rect", name, { x: i + 0.06, y: 100 - height, width: 0.88, height }));
  });
  drawing.append(shape("line", "axis", { x1: 0, x2: bins.length, y1: 100, y2: 100, "vector-effect": "non-scaling-stroke" }));
  const [low, high] = [-width * below.length, width * above.length];
  attributed(drawing, { "aria-label": `Histogram of activations from ${format(low)} to ${format(high)}; ${zeros} of ${total} are 0` });
  const words = `Counts on a logarithmic scale; ${zeros} of ${total} ${plural(data.granularity)} are exactly 0 and left out.`;
  return [drawing, make("div", "scale", make("span", "", format(low)), make("span", "", format(high))), make("p", "hint", words)];
}

// The effects on outputs: all, or the largest on either side.
function bars(k) {
  const order = outputs.map((_, output) => output).sort((a, b) => effects[b][k] - effects[a][k] || a - b);
  const shown = order.length <= 2 * BARS ? order : [...order.slice(0, BARS), ...order.slice(-BARS)];
  const top = Math.max(...sizes.map((row) => row[k]));
  const lines = shown.map((output) => {
    const effect = effects[output][k], size = sizes[output][k], side = effect < 0 ? -50 : 50, to = (value) => 50 + (top ? (side * Math.abs(value)) / top : 0);
    const parts = [stretch("fill size", 50, to(size)), stretch("fill", 50, to(effect))];
    for (const part of parts) part.classList.toggle("against", side < 0);
    const line = make("li", "", make("span", "name", isolated(outputs[output], 60)), make("span", "track", ...parts), make("span", "amount", format(effect, true)));
    line.title = `effect ${format(effect, true)}, importance ${format(size)} ${data.unit}`;
    return line;
  });
  const hint = `Full: the mean effect. Pale: its importance, the ${data.scale}. Half a bar is ${format(top)} ${data.unit}.`;
  return make("div", "", make("ol", "top outputs", ...lines), make("p", "hint", hint));
}

function quantiles(k) {
  const { examples, peak, id } = concepts[k];
  const groups = examples.map(([low, high, texts]) => {
    const name = high === 100 ? `top ${100 - low} %` : `${low} to ${high} %`;
    return make("div", "quantile", make("h4", "", name), make("div", "", ...texts.map(([place, values]) => passage(place, decoded(values), peak))));
  });
  const ramp = make("div", "legend", make("span", "end", "0"), make("span", "ramp rising"), make("span", "end", format(peak)), make("span", "side high", `activation of concept ${id}`));
  return [make("div", "by-activation", ...groups, ramp)];
}

function passage(place, values, peak) {
  const best = values.indexOf(Math.max(...values)), segments = data.passages[place];
  const node = attributed(make("div", "passage"), { role: "group", dir: "auto", "aria-label": `A text; largest activation ${format(values[best])} at ${shortened((segments.find(([, unit]) => unit === best) || [""])[0], 60)}` });
  for (const [text, unit, named] of segments) {
    const part = make("span", unit === null ? "" : named ? "unit named" : "unit", visible(text));
    if (unit !== null) {
      const weight = peak > 0 ? values[unit] / peak : 0;
      part.classList.toggle("against", weight < 0);
      part.style.setProperty("--weight", `${(100 * Math.min(1, Math.abs(weight))).toFixed(1)}%`);
      part.addEventListener("mouseenter", () => showTooltip(part, [make("strong", "", isolated(text, 80)), make("span", "", `activation ${format(values[unit])}`)]));
      part.addEventListener("mouseleave", hideTooltip);
    }
    node.append(part);
  }
  return node;
}

const dashboard = new Dashboard();
const reading = make("details", "guide", make("summary", "", "How to read this"), make("ul", "", ...[
  "Choose a concept in the list. Its histogram shows how often and how strongly it is active.",
  "Effects say how the outputs move with the concept: full bars have a sign and are means over texts, pale bars are magnitudes.",
  "Texts are sorted by the quantile of their activation: a concept that means one thing means it in lower quantiles too.",
  "Similar directions have a cosine near 1; two concepts of one direction may be one.",
].map((text) => make("li", "", text))));
const lines = () => [["concept", "name", "share of units", "mean", "peak", ...outputs.map((name) => `effect on ${name}`), ...outputs.map((name) => `importance for ${name}`)],
  ...concepts.map((one, k) => [one.id, one.name, one.density, one.mean, one.peak, ...effects.map((row) => row[k]), ...sizes.map((row) => row[k])])];
root.append(reading, dashboard.element, saving(dashboard.element, "concepts", lines), dashboard.status, tooltip);
document.addEventListener("keydown", (event) => event.key === "Escape" && hideTooltip());
document.addEventListener("scroll", hideTooltip, { passive: true, capture: true });
