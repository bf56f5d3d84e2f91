const current = document.currentScript;
const root = current ? current.parentElement : document.querySelector(".interpreto.concepts:not([data-drawn])");
if (!root || root.dataset.drawn) return;
root.dataset.drawn = "yes";
root.querySelector(".static")?.remove();
root.classList.add("concepts");

const data = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
const { concepts, outputs } = data;
for (const name of ["unit", "scale", "scoreUnit"]) data[name] = data[name] && visible(data[name]);
const LISTED = 60; // outputs with a bar; all are in the table

// Effects and importances of one output, decoded when it is first shown.
const rows = new Map();
function row(output) {
  if (!rows.has(output)) rows.set(output, { sizes: decoded(data.sizes[output]), effects: decoded(data.effects[output]) });
  return rows.get(output);
}

function title(k, length = 60) {
  return shortened(concepts[k].name, length);
}

function quantities(output, k) {
  const { sizes, effects } = row(output);
  return `effect ${format(effects[k], true)}, importance ${format(sizes[k])} ${data.unit}`;
}

// The importance as a pale bar, and inside of it the effect with its sign.
function bar(output, k) {
  const { sizes, effects } = row(output), side = effects[k] < 0 ? -50 : 50;
  const to = (value) => 50 + (data.top ? (side * Math.abs(value)) / data.top : 0);
  const parts = [stretch("fill size", 50, to(sizes[k])), stretch("fill", 50, to(effects[k]))];
  for (const part of parts) part.classList.toggle("against", side < 0);
  return make("span", "track", ...parts);
}

function cell(output, k) {
  const { sizes, effects } = row(output);
  const node = make("td", "unit", format(sizes[k]), make("small", "", format(effects[k], true)));
  node.classList.toggle("against", effects[k] < 0);
  node.style.setProperty("--weight", `${data.top ? ((100 * sizes[k]) / data.top).toFixed(1) : 0}%`);
  node.title = `${shortened(outputs[output], 40)}: ${quantities(output, k)}`;
  return node;
}

function legend(low, high, from, to) {
  const ramp = make("span", low === null ? "ramp rising" : "ramp", ...(low === null ? [] : [make("span", "zero", "0")]));
  const ends = [make("span", "end", from), ramp, make("span", "end", to)];
  return make("div", "legend", ...(low === null ? [] : [make("span", "side low", low)]), ...ends, make("span", "side high", high));
}

// A text whose units are colored by one concept at a time.
class Passage {
  constructor(view, { segments, elements }) {
    Object.assign(this, { view, elements, units: [], stops: [], k: -1 });
    this.element = attributed(make("div", "passage"), { role: "group", dir: "auto", "aria-label": "A text; arrow keys move between its units" });
    this.element.append(...segments.map(([text, unit, named]) => this.segment(text, unit, named)));
    this.element.addEventListener("keydown", (event) => this.press(event));
    for (const kind of ["mouseover", "focusin"]) this.element.addEventListener(kind, (event) => this.point(event.target));
    for (const kind of ["mouseout", "focusout"]) this.element.addEventListener(kind, hideTooltip);
  }

  segment(text, unit, named) {
    const node = make("span", unit === null ? "" : named ? "unit named" : "unit", visible(text));
    if (unit === null) return node;
    attributed(node, { role: "img", tabindex: this.stops.length ? -1 : 0, "data-unit": unit, "data-at": this.stops.length });
    this.units.push([node, unit]);
    this.stops.push(node);
    return node;
  }

  paint(k, values, scale) {
    Object.assign(this, { k, values });
    for (const [node, unit] of this.units) {
      const weight = scale ? values[unit] / scale : 0;
      node.classList.toggle("against", weight < 0);
      node.style.setProperty("--weight", `${(100 * Math.min(1, Math.abs(weight))).toFixed(1)}%`);
    }
    this.say();
  }

  // Describe each unit for screen readers.
  say() {
    for (const [node, unit] of this.units) node.setAttribute("aria-label", [shortened(this.elements[unit], 80), ...this.saying(unit)].join(", "));
  }

  saying(unit) {
    const lines = [`activation ${format(this.values[unit])}`], effect = this.view.unitEffect(this.k, unit);
    if (effect !== null) lines.push(`effect ${format(effect, true)} ${data.unit} on ${shortened(outputs[this.view.output], 40)}`);
    return lines;
  }

  point(node) {
    if (node.dataset.unit === undefined) return hideTooltip();
    const unit = Number(node.dataset.unit);
    showTooltip(node, [make("strong", "", isolated(this.elements[unit], 80)), ...this.saying(unit).map((line) => make("span", "", line))]);
  }

  press(event) {
    const here = this.stops.indexOf(event.target), there = step(event.key, here, this.stops.length);
    if (here < 0 || there === undefined) return;
    this.stops[here].tabIndex = -1;
    this.stops[there].tabIndex = 0;
    this.stops[there].focus();
    event.preventDefault();
  }
}

// The whole view: one output and one concept are chosen at a time.
class View {
  constructor() {
    Object.assign(this, { passages: new Map(), unitRows: new Map(), output: -1, k: -1, order: [] });
    this.element = attributed(make("article", "card"), { "aria-label": data.local ? "Concepts of a text" : "Concepts of a data set" });
    this.status = attributed(make("p", "spoken"), { "aria-live": "polite" });
    this.list = attributed(make("ol", "concept-list"), { role: "listbox", "aria-label": "Concepts, by importance; arrow keys choose" });
    this.list.addEventListener("keydown", (event) => this.press(event));
    this.detail = make("section", "panel");
    const name = `Every concept and ${data.output}`;
    this.heat = attributed(make("div", "scroll"), { role: "region", tabindex: 0, "aria-label": name });
    this.table = make("details", "all", make("summary", "", name), this.heat);
    this.table.addEventListener("toggle", () => this.table.open && this.drawTable());
    this.key = make("div", "key");
    this.element.append(this.switcher(), make("div", "panels", make("section", "panel", this.list, this.key), this.detail), this.facts(), this.table, this.status);
    this.options = concepts.map((_, k) => this.option(k));
    const best = data.scores && data.output === "class" ? data.scores.indexOf(Math.max(...data.scores)) : 0;
    this.chooseOutput(Math.max(0, best), true);
    this.table.open = !data.local && outputs.length > 1;
    if (this.table.open) this.drawTable();
  }

  switcher() {
    const group = attributed(make("div", "targets"), { role: "group", "aria-label": "What is explained" });
    this.buttons = outputs.map((name, output) => {
      const score = data.scores ? [make("span", "score", format(data.scores[output]))] : [];
      const button = make("button", "target", make("span", "label", isolated(name, 60)), ...score);
      button.addEventListener("click", () => this.chooseOutput(output));
      if (data.scores) button.title = `${format(data.scores[output])} ${data.scoreUnit}`;
      return attributed(button, { type: "button" });
    });
    group.append(...this.buttons);
    return group;
  }

  option(k) {
    const node = attributed(make("li", "concept"), { role: "option", "data-concept": concepts[k].id });
    node.addEventListener("click", () => this.chooseConcept(k));
    if (data.local) {
      node.addEventListener("mouseenter", () => this.color(k));
      node.addEventListener("mouseleave", () => this.color(this.k));
    }
    return node;
  }

  press(event) {
    const here = this.order.indexOf(this.k), there = step(event.key, here, this.order.length);
    if (there === undefined) return;
    this.chooseConcept(this.order[there]);
    this.options[this.k].focus();
    event.preventDefault();
  }

  chooseOutput(output, quietly = false) {
    this.output = output;
    const { sizes } = row(output);
    this.order = concepts.map((_, k) => k).sort((a, b) => sizes[b] - sizes[a] || a - b);
    this.buttons.forEach((button, own) => button.setAttribute("aria-pressed", String(own === output)));
    for (const k of this.order) {
      const amount = make("span", "amount", format(row(output).effects[k], true));
      const name = make("span", "name", make("span", "number", String(concepts[k].id)), isolated(title(k)));
      this.options[k].replaceChildren(name, bar(output, k), amount);
      this.options[k].title = quantities(output, k);
    }
    this.list.replaceChildren(...this.order.map((k) => this.options[k]));
    this.drawKey();
    this.chooseConcept(this.k < 0 ? this.order[0] : this.k, quietly);
  }

  chooseConcept(k, quietly = false) {
    if (k === undefined) return;
    this.k = k;
    hideTooltip();
    this.options.forEach((node, own) => attributed(node, { "aria-selected": own === k, tabindex: own === k ? 0 : -1 }));
    this.drawDetail();
    for (const line of this.table.querySelectorAll("tr[data-k]")) line.classList.toggle("chosen", Number(line.dataset.k) === k);
    if (!quietly) this.status.textContent = `${shortened(outputs[this.output], 40)}. Concept ${concepts[k].id}: ${title(k)}, ${quantities(this.output, k)}`;
  }

  unitEffect(k, unit) {
    const found = concepts[k].units;
    if (!found) return null;
    const name = `${k} ${this.output}`;
    if (!this.unitRows.has(name)) this.unitRows.set(name, decoded(found[this.output]));
    return this.unitRows.get(name)[unit];
  }

  // The texts of a concept, colored by its activations; one scale for all of them.
  color(k) {
    const texts = concepts[k].passages.map(([passage, values]) => [this.passage(passage), decoded(values)]);
    const scale = Math.max(0, ...texts.map(([, values]) => values.reduce((top, value) => Math.max(top, Math.abs(value)), 0)));
    for (const [passage, values] of texts) passage.paint(k, values, scale);
    const signed = texts.some(([, values]) => values.some((value) => value < 0));
    const name = `activation of concept ${concepts[k].id}`;
    this.meaning.replaceChildren(legend(signed ? "opposite" : null, name, signed ? format(-scale) : "0", format(scale)));
    return texts.map(([passage]) => passage.element);
  }

  passage(i) {
    if (!this.passages.has(i)) this.passages.set(i, new Passage(this, data.passages[i]));
    return this.passages.get(i);
  }

  drawDetail() {
    const k = this.k, { id, label, verdict } = concepts[k];
    this.meaning = make("div", "meaning");
    const texts = this.color(k);
    const read = new Set(concepts[k].passages.map(([i]) => data.passages[i].segments.map(([text]) => text).join("")));
    const words = label.filter(([text]) => !read.has(text)).map(([text, value]) => make("li", "", isolated(text, 80), ...(value === null ? [] : [make("span", "score", format(value))])));
    const about = data.local ? "The text" : "Its top inputs";
    const shown = texts.length ? [make("h3", "", about), make("div", data.local ? "by-activation whole" : "by-activation", ...texts, this.meaning)] : [];
    const none = texts.length ? [] : [make("p", "hint", "Nowhere above 0.")];
    this.detail.replaceChildren(
      make("h2", "", `Concept ${id}`), ...(words.length ? [make("ul", "words", ...words)] : []),
      ...(verdict ? [make("p", "hint", `Score of the label: ${visible(verdict)}`)] : []), ...none, ...shown,
      make("h3", "", `Effect on each ${data.output}, in ${data.unit}`), this.effects(k));
  }

  effects(k) {
    const lines = outputs.slice(0, LISTED).map((name, output) => {
      const amount = make("span", "amount", format(row(output).effects[k], true));
      const line = make("li", output === this.output ? "now" : "", make("span", "name", isolated(name, 60)), bar(output, k), amount);
      line.title = quantities(output, k);
      return line;
    });
    if (outputs.length > LISTED) lines.push(make("li", "", make("span", "name", `${outputs.length - LISTED} more below`)));
    return make("ol", "top outputs", ...lines);
  }

  drawKey() {
    const name = shortened(outputs[this.output], 40);
    const sample = (side, ...names) => make("span", "side", make("span", `swatch ${names.join(" ")}`), side);
    const sides = make("div", "legend", sample(`against ${name}`, "against"), sample(`for ${name}`), sample("importance", "size"));
    const words = `Full: the ${data.local ? "effect" : "mean effect"}. Pale: its importance, the ${data.scale}. Half a bar is ${format(data.top)} ${data.unit}.`;
    this.key.replaceChildren(sides, make("p", "hint", words));
  }

  drawTable() {
    if (this.heat.hasChildNodes()) return;
    const heads = outputs.map((name) => attributed(make("th", "", isolated(name, 24)), { scope: "col" }));
    const lines = concepts.map(({ id }, k) => {
      const head = attributed(make("th", "", make("span", "number", String(id)), isolated(title(k, 30))), { scope: "row" });
      const line = attributed(make("tr", k === this.k ? "chosen" : "", head, ...outputs.map((_, output) => cell(output, k))), { "data-k": k });
      line.addEventListener("click", (event) => {
        const column = [...line.children].indexOf(event.target.closest("td")) - 1;
        this.k = k;
        if (column >= 0) this.chooseOutput(column);
        else this.chooseConcept(k);
      });
      return line;
    });
    const end = format(data.top), ramp = legend("against", "for", `\u2212${end}`, `+${end} ${data.unit}`);
    const words = `Large: importance, the ${data.scale}, colored by the side of the ${data.local ? "effect" : "mean effect"}, which stands beside it.`;
    const head = make("thead", "", make("tr", "", attributed(make("th", "", "concept"), { scope: "col" }), ...heads));
    this.heat.append(make("table", "heat", head, make("tbody", "", ...lines)));
    this.table.append(make("div", "key", ramp, make("p", "hint", words)));
  }

  facts() {
    return make("dl", "facts", ...data.facts.map(([name, value]) => make("div", "", make("dt", "", name), make("dd", "", isolated(value)))));
  }
}

root.append(new View().element, tooltip);
document.addEventListener("keydown", (event) => event.key === "Escape" && hideTooltip());
document.addEventListener("scroll", hideTooltip, { passive: true, capture: true });
