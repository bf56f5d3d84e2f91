const current = document.currentScript;
const root = current ? current.parentElement : document.querySelector(".interpreto:not(.concepts):not([data-drawn])");
if (!root || root.dataset.drawn) return;
root.dataset.drawn = "yes";
root.querySelector(".static")?.remove();
const TOP = 8;

function percent(part) {
  return `${(100 * part).toFixed(part < 0.0995 ? 1 : 0)} %`;
}

// One row of values, decoded when it is first shown.
class Row {
  constructor(data, row) {
    this.data = data;
    this.values = decoded(data.values[row]);
    this.errors = data.errors && data.errors[row] && decoded(data.errors[row]);
    const sizes = this.values.map((value) => (Number.isFinite(value) ? Math.abs(value) : 0));
    const total = sizes.reduce((sum, size) => sum + size, 0);
    this.shares = sizes.map((size) => (total ? size / total : 0));
    this.order = sizes.map((_, unit) => unit).filter((unit) => !Number.isNaN(this.values[unit]));
    this.order.sort((a, b) => sizes[b] - sizes[a] || a - b);
    this.scale = data.scales[Number(row === data.whole)];
  }

  quantity(unit) {
    const error = this.errors && !Number.isNaN(this.errors[unit]) ? ` \u00b1 ${format(this.errors[unit])}` : "";
    return Number.isNaN(this.values[unit]) ? "n/a" : format(this.values[unit], this.data.signed) + error;
  }

  // Share of the fullest color, from -1 to 1.
  weight(value) {
    return this.scale && !Number.isNaN(value) ? Math.min(1, Math.max(this.data.signed ? -1 : 0, value / this.scale)) : 0;
  }

  paint(node, value) {
    const weight = this.weight(value);
    node.classList.toggle("against", weight < 0);
    node.classList.toggle("absent", Number.isNaN(value));
    node.style.setProperty("--weight", `${(100 * Math.abs(weight)).toFixed(1)}%`);
  }
}

// One explanation: its text, its largest units and the parts of its score. The card decides which row is shown.
class Panel {
  constructor(data, card) {
    Object.assign(this, { data, card, stops: [], units: [], rows: new Map(), target: -1 });
    this.first = data.whole === undefined ? 0 : data.whole;
    this.key = JSON.stringify(data.labels.slice(0, data.whole)); // the rows, without their sum
    this.cut = JSON.stringify(data.elements);
    this.chosen = data.answered && data.labels.length > 1;
    this.element = make("section", "panel");
    this.legend = make("div", "legend");
    this.account = make("div", "account");
    this.table = make("details", "all", make("summary", "", "All values"), make("div", "scroll"));
    this.table.addEventListener("toggle", () => this.table.open && this.drawTable());
    this.note = make("p", "hint", "Magnitudes do not add up to an answer\u2019s: its first token is shown.");
    this.element.append(this.note, this.text(), this.legend, this.account, this.facts(), this.table);
  }

  get row() {
    if (!this.rows.has(this.target)) this.rows.set(this.target, new Row(this.data, this.target));
    return this.rows.get(this.target);
  }

  text() {
    const text = attributed(make("div", "passage"), { role: "group", "aria-label": "The text as the model read it; arrow keys move between its elements" });
    let at = 0;
    for (const [kind, count] of this.data.blocks) {
      const block = attributed(make("div", kind), { dir: "auto" });
      for (const run of runs(this.data.segments.slice(at, at + count), this.chosen)) block.append(...this.run(run));
      text.append(block);
      at += count;
    }
    text.addEventListener("keydown", (event) => this.press(event));
    text.addEventListener("click", (event) => this.choose(event.target));
    for (const kind of ["mouseover", "focusin"]) text.addEventListener(kind, (event) => this.point(event.target));
    for (const kind of ["mouseout", "focusout"]) text.addEventListener(kind, () => this.point(text));
    return text;
  }

  // Segments outside of all tokens, or all segments of one token, which form a button; leading space stays outside of it.
  run({ row, segments }) {
    if (row === null) return segments.map(([content, unit, named]) => this.segment(content, unit, named));
    const [, space, first] = segments[0][0].match(/^(\s*)(.*)$/s);
    if (segments.length > 1 || first) segments[0] = [first, ...segments[0].slice(1)];
    else segments[0] = ["\u21b5".repeat(space.includes("\n")) + space, ...segments[0].slice(1)];
    const parts = segments.filter(([content]) => content).map(([content, unit, named]) => this.segment(content, unit, named, true));
    const units = segments.map(([, unit]) => unit).filter((unit) => unit !== null);
    const token = this.reached(attributed(make("span", "token", ...parts), { role: "button", "data-row": row }), units, row);
    return segments.length > 1 || first ? [space, token] : [token];
  }

  segment(content, unit, named, inside) {
    const node = make("span", unit === null ? "" : named ? "unit named" : "unit", visible(content));
    if (unit === null) return node;
    node.dataset.unit = unit;
    this.units.push([node, unit]);
    return inside ? node : this.reached(attributed(node, { role: "img" }), [unit], null);
  }

  // Let arrow keys reach a node.
  reached(node, units, row) {
    attributed(node, { tabindex: this.stops.length ? -1 : 0, "data-at": this.stops.length });
    this.stops.push({ node, units, row });
    return node;
  }

  choose(node) {
    const token = node.closest("[data-row]");
    if (token) this.card.show(token.getAttribute("aria-pressed") === "true" ? this.card.home(this) : Number(token.dataset.row), this);
  }

  point(node) {
    const at = node.closest("[data-unit]") || (node.dataset.row === undefined ? null : node.querySelector("[data-unit]"));
    const unit = at ? Number(at.dataset.unit) : null;
    this.card.link(unit, this);
    if (!at) return hideTooltip();
    const lines = [make("strong", "", isolated(this.data.elements[unit], 80)), ...this.saying(unit)];
    showTooltip(at, lines.concat(this.card.others(this).map((panel) => panel.brief(unit))));
  }

  saying(unit) {
    const { row, data } = this;
    if (Number.isNaN(row.values[unit])) return [make("span", "", "not seen: the score cannot depend on it")];
    const rank = `${percent(row.shares[unit])} of all magnitude, rank ${row.order.indexOf(unit) + 1} of ${row.order.length}`;
    return [make("span", "amount", `${row.quantity(unit)} ${data.unit}`), make("span", "", rank)];
  }

  brief(unit) {
    const seen = !Number.isNaN(this.row.values[unit]);
    return make("span", "", `${visible(this.data.facts[0][1])}: ${seen ? `${this.row.quantity(unit)} ${this.data.unit}` : "not seen"}`);
  }

  mark(unit) {
    for (const [node, own] of this.units) node.classList.toggle("linked", own === unit);
  }

  press(event) {
    const node = event.target;
    if ((event.key === "Enter" || event.key === " ") && node.dataset.row !== undefined) this.choose(node);
    else {
      const here = Number(node.dataset.at), there = step(event.key, here, this.stops.length);
      if (there === undefined) return;
      this.stops[here].node.tabIndex = -1;
      this.stops[there].node.tabIndex = 0;
      this.stops[there].node.focus();
    }
    event.preventDefault();
  }

  show(asked) {
    const target = asked < this.data.labels.length ? asked : this.first;
    this.note.hidden = target === asked;
    if (target === this.target) return;
    this.target = target;
    const { row, data } = this;
    for (const [node, unit] of this.units) row.paint(node, row.values[unit]);
    for (const { node, units, row: own } of this.stops) {
      const values = units.map((unit) => `${visible(data.elements[unit])}: ${row.quantity(unit)}`).join(", ");
      node.setAttribute("aria-label", own === null ? values : `${visible(data.labels[own]).trim()}, token ${own + 1} of the answer. ${values}`);
      if (own !== null) node.setAttribute("aria-pressed", String(own === target));
    }
    this.drawLegend();
    this.account.replaceChildren(...(data.addsUp[target] ? this.waterfall() : this.bars()));
    if (this.table.open) this.drawTable();
  }

  drawLegend() {
    const { signed, unit } = this.data, { scale } = this.row;
    const side = (word, name = "") => make("span", `side ${name}`, word, isolated(this.data.labels[this.target], 40));
    const ramp = make("span", signed ? "ramp" : "ramp rising", ...(signed ? [make("span", "zero", "0")] : []));
    const low = make("span", "end", signed ? format(-scale) : "0");
    const high = make("span", "end", `${format(scale, signed)} ${unit}`);
    this.legend.replaceChildren(...(signed ? [side("against ", "low")] : []), low, ramp, high, side(signed ? "for " : "matters for ", signed ? "high" : ""));
  }

  bars() {
    const { row, data, target } = this, reach = data.signed ? 50 : 100;
    const at = (value) => 100 - reach + reach * row.weight(value);
    const list = make("ol", data.signed ? "top" : "top rising", ...row.order.slice(0, TOP).map((unit) => this.step(unit, at, 0)));
    if (data.references) list.append(this.line(`f(${data.reference})`, format(data.references[target])));
    if (data.signed) list.append(this.line("sum of all", format(data.sums[target], true)));
    if (data.residuals) list.append(this.line("residual", format(data.residuals[target], true)));
    list.append(this.line("f(x)", `${format(data.scores[target])}${data.signed ? "" : ` ${data.scoreUnit}`}`, "", "sum end"));
    return [make("h3", "", `Largest ${data.element}s, ${data.signed ? `in ${data.unit}` : "by magnitude"}`), list];
  }

  // From the reference to the score, unit by unit.
  waterfall() {
    const { row, data, target } = this, units = row.order.slice(0, TOP), rest = row.order.length - units.length;
    const start = data.references[target], end = data.scores[target], summed = start + data.sums[target];
    let named = start;
    const origins = units.map((unit) => (named += row.values[unit]) - row.values[unit]);
    const marks = [start, end, named, summed, ...origins];
    const low = Math.min(...marks), reach = Math.max(...marks) - low;
    const span = reach > data.noise[target] ? reach : Math.max(1, Math.abs(low)); // rounding alone gets no full bar
    const at = (value) => (100 * (value - low)) / span;
    const level = (name, value) => this.line(name, format(value), stretch("level", at(value), at(value)), "sum end");
    const part = (name, from, to, value) => this.line(name, format(value, true), this.fill(at, from, to, value));
    const list = make("ol", "top waterfall", level(`f(${data.reference})`, start), ...units.map((unit, i) => this.step(unit, at, origins[i])));
    if (rest) list.append(part(`${rest} other ${data.element}s`, named, summed, summed - named));
    list.append(part("residual", summed, end, data.residuals[target]), level("f(x)", end));
    return [make("h3", "", `From f(${data.reference}) to f(x), in ${data.scoreUnit}`), list];
  }

  fill(at, from, to, value) {
    const fill = stretch("fill", at(from), at(to));
    fill.classList.toggle("against", value < 0);
    return fill;
  }

  step(unit, at, from) {
    const { row, data } = this, value = row.values[unit];
    const error = row.errors && row.errors[unit];
    const track = make("span", "track", this.fill(at, from, from + value, value));
    if (error) track.append(stretch("whisker", at(from + value - error), at(from + value + error)));
    const name = make("span", "name", isolated(data.elements[unit].replace(/\s+/g, " "), 60));
    const line = make("li", "", name, track, make("span", "amount", row.quantity(unit)));
    line.title = `${visible(data.elements[unit])}: ${row.quantity(unit)} ${data.unit}, ${percent(row.shares[unit])}`;
    line.addEventListener("mouseenter", () => this.card.link(unit, this));
    line.addEventListener("mouseleave", () => this.card.link(null, this));
    return line;
  }

  line(name, amount, mark = "", kind = "sum") {
    return make("li", kind, make("span", "name", name), make("span", mark ? "track" : "", mark), make("span", "amount", amount));
  }

  facts() {
    const facts = this.data.facts.filter(([name]) => name !== "Method" || this.card.single);
    return make("dl", "facts", ...facts.map(([name, value]) => make("div", "", make("dt", "", name), make("dd", "", isolated(value)))));
  }

  drawTable() {
    const { data, row } = this;
    const heads = ["#", data.element, `value (${data.unit})`, "share"].map((name) => attributed(make("th", "", name), { scope: "col" }));
    const lines = data.elements.map((element, unit) =>
      make("tr", "", ...[String(unit + 1), isolated(element), row.quantity(unit), percent(row.shares[unit])].map((cell) => make("td", "", cell))));
    this.table.lastChild.replaceChildren(make("table", "values", make("thead", "", make("tr", "", ...heads)), make("tbody", "", ...lines)));
  }
}

function runs(segments, tokens) {
  const found = [];
  for (const segment of segments) {
    const row = tokens ? segment[3] : null;
    if (found.length && found[found.length - 1].row === row) found[found.length - 1].segments.push(segment);
    else found.push({ row, segments: [segment] });
  }
  return found;
}

// Buttons for the targets: classes, or the whole answer; a token of the answer is chosen in the text.
class Switcher {
  constructor(data, first, show) {
    Object.assign(this, { data, first, buttons: new Map() });
    this.element = attributed(make("div", "targets"), { role: "group", "aria-label": "What is explained" });
    const tokens = data.answered && data.labels.length > 1;
    const rows = tokens ? (data.whole === undefined ? [] : [data.whole]) : data.labels.map((_, row) => row);
    for (const row of rows) {
      const several = data.scores.length > 1;
      const button = make(several ? "button" : "span", "target", ...this.named(row));
      button.title = `${visible(data.labels[row])}: ${format(data.scores[row])} ${data.scoreUnit}`;
      if (several) button.addEventListener("click", () => show(row));
      if (several) this.buttons.set(row, attributed(button, { type: "button" }));
      this.element.append(button);
    }
    if (!tokens) return;
    this.now = make("span", "target now");
    this.hint = make("span", "hint", "Choose a token of the answer to see what it rests on.");
    this.element.append(this.now, this.hint);
  }

  named(row) {
    const label = row === this.data.whole ? "whole answer" : isolated(this.data.labels[row].trim() || this.data.labels[row], 60);
    return [make("span", "label", label), make("span", "score", format(this.data.scores[row]))];
  }

  show(row) {
    for (const [own, button] of this.buttons) button.setAttribute("aria-pressed", String(own === row));
    if (!this.now) return;
    const count = this.data.labels.slice(0, this.data.whole).length;
    this.now.hidden = row === this.data.whole;
    this.hint.hidden = row !== this.first;
    this.now.replaceChildren(...this.named(row), make("span", "score", `token ${row + 1} of ${count}`));
  }
}

// The explanations of one text. Those of the same targets share a switcher and show the same row.
class Card {
  constructor(group, position) {
    this.single = group.length === 1;
    this.panels = group.map((data) => new Panel(data, this));
    this.element = make("article", this.single ? "card" : "card several");
    const [{ data }] = this.panels;
    this.element.setAttribute("aria-label", `Explanation ${position + 1}: ${visible(data.labels.join(", ")).slice(0, 60)}`);
    this.status = attributed(make("p", "spoken"), { "aria-live": "polite" });
    const shared = this.linked(this.panels[0]).length === this.panels.length;
    this.switchers = (shared ? [this.panels[0]] : this.panels).map((panel) => {
      const { data: rows } = this.linked(panel).find((other) => other.data.whole !== undefined) || panel;
      const switcher = new Switcher(rows, this.home(panel), (row) => this.show(row, panel));
      (shared ? this.element : panel.element).prepend(switcher.element);
      return [switcher, panel];
    });
    if (!this.single) for (const panel of this.panels) panel.element.prepend(make("h2", "", isolated(panel.data.facts[0][1])));
    this.element.append(make("div", "panels", ...this.panels.map((panel) => panel.element)), this.status);
    for (const panel of this.panels) this.show(this.home(panel), panel, true);
  }

  show(row, from, quietly = false) {
    hideTooltip();
    const linked = this.linked(from);
    for (const panel of linked) panel.show(row);
    for (const [switcher, panel] of this.switchers) if (linked.includes(panel)) switcher.show(row);
    const { data } = linked.find((panel) => row === panel.data.whole) || from;
    const name = row === data.whole ? "the whole answer" : visible(data.labels[row]);
    if (!quietly) this.status.textContent = `Showing ${name}: ${format(data.scores[row])} ${data.scoreUnit}`;
  }

  // The row that is shown first: the whole answer, if one of the methods has it.
  home(panel) {
    return Math.max(...this.linked(panel).map((other) => other.first));
  }

  linked(panel) {
    return this.panels.filter((other) => other.key === panel.key);
  }

  others(from) {
    return this.linked(from).filter((panel) => panel !== from && panel.cut === from.cut);
  }

  link(unit, from) {
    for (const panel of [from, ...this.others(from)]) panel.mark(unit);
  }
}
