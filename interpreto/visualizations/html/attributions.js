const current = document.currentScript;
const root = current ? current.parentElement : document.querySelector(".interpreto:not(.concepts):not([data-drawn])");
if (!root || root.dataset.drawn) return;
root.dataset.drawn = "yes";
root.querySelector(".static")?.remove();
const TOP = 8;

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
    const place = Number(row === data.whole);
    this.scale = data.scales[place];
    this.robust = data.robust[place];
  }

  quantity(unit) {
    const error = this.errors && this.errors[unit] ? ` \u00b1 ${format(this.errors[unit])}` : "";
    return Number.isNaN(this.values[unit]) ? "n/a" : format(this.values[unit], this.data.signed) + error;
  }

  // Share of the fullest color, from -1 to 1.
  weight(value, scale = this.scale) {
    return scale && !Number.isNaN(value) ? Math.min(1, Math.max(this.data.signed ? -1 : 0, value / scale)) : 0;
  }

  paint(node, value, scale) {
    const weight = this.weight(value, scale);
    node.classList.toggle("against", weight < 0);
    node.classList.toggle("faint", Math.abs(weight) < 0.05);
    node.classList.toggle("absent", Number.isNaN(value));
    node.style.setProperty("--weight", `${(100 * Math.abs(weight)).toFixed(1)}%`);
  }
}

// One explanation: its text, its largest units and the parts of its score. The card decides which row is shown.
class Panel {
  constructor(data, card) {
    Object.assign(this, { data, card, rows: new Map(), target: -1, own: false, robust: data.clipped, map: false, rolled: false });
    this.first = data.whole === undefined ? data.order[0] : data.whole;
    this.key = JSON.stringify(data.labels.slice(0, data.whole)); // the rows, without their sum
    this.cut = JSON.stringify(data.elements);
    this.element = make("section", "panel");
    this.passage = new Passage(this);
    this.heat = make("div", "scroll heat");
    this.legend = make("div", "legend");
    this.account = make("div", "account");
    this.table = make("details", "all", make("summary", "", "All values"), reachable(make("div", "scroll"), "All values"));
    this.table.addEventListener("toggle", () => this.table.open && this.drawTable());
    this.note = make("p", "hint", "Magnitudes do not add up to an answer\u2019s: its first token is shown.");
    this.element.append(this.note, ...this.tools(), this.passage.element, this.heat, this.legend, this.account, this.facts(), this.table);
  }

  get row() {
    return this.rowOf(this.target);
  }

  rowOf(target) {
    if (!this.rows.has(target)) this.rows.set(target, new Row(this.data, target));
    return this.rows.get(target);
  }

  // Switches that change what is drawn, where the text has a use for them.
  tools() {
    const { data } = this, shown = [];
    if (data.answered && data.labels.slice(0, data.whole).length > 1) shown.push(oneOf("View", ["Text", "Heat map"], 0, (at) => this.redraw({ map: at === 1 })));
    if (data.prompt && data.prompt < data.elements.length) shown.push(onOff(`Answer\u2019s own ${plural(data.element)}`, false, (on) => this.redraw({ own: on })));
    if (data.elements.length >= MANY) shown.push(oneOf("Full color at", ["the largest", "95 %"], Number(this.robust), (at) => this.redraw({ robust: at === 1 })));
    if (this.passage.frozen) shown.push(onOff("Chat template", false, (on) => this.passage.element.classList.toggle("templated", on)));
    return shown.length ? [make("div", "tools", ...shown)] : [];
  }

  // Beside others, a table shows the values: the account is in details.
  fold() {
    const place = make("details", "all", make("summary", "", "Largest values"));
    this.account.before(place);
    place.append(this.account);
  }

  redraw(change) {
    Object.assign(this, change);
    hideTooltip();
    this.show(this.target);
  }

  // The magnitude of the fullest color in the text.
  get full() {
    return this.robust ? this.row.robust : this.row.scale;
  }

  show(target) {
    this.target = target;
    const { row, data } = this;
    this.note.hidden = !(this.card.magnitudes && data.whole === undefined && data.answered && target === this.first);
    this.passage.show(row, target, this.full);
    this.passage.element.hidden = this.map;
    this.heat.hidden = !this.map;
    if (this.map) drawHeatMap(this);
    this.drawLegend();
    this.account.replaceChildren(...account(this));
    if (this.table.open) this.drawTable();
  }

  drawLegend() {
    const { data } = this, full = this.map ? this.rowOf(0)[this.robust ? "robust" : "scale"] : this.full;
    const clipped = full < (this.map ? this.rowOf(0) : this.row).scale ? "\u2265 " : "";
    const of = `${data.rises} of `, answered = this.target === data.whole || (data.answered && data.labels.length === 1) || this.map;
    const what = answered ? [`the ${this.map ? "token" : "answer"}\u2019s ${data.rises}`] : [`the ${of}`, isolated(data.labels[this.target].trim() || data.labels[this.target], 40)];
    const ends = [make("span", "end", data.signed ? format(-full) : "0"), make("span", "end", `${clipped}${format(full, data.signed)} ${data.unit}`)];
    const ramp = make("span", data.signed ? "ramp" : "ramp rising", ...(data.signed ? [make("span", "zero", "0")] : []));
    const low = data.signed ? [make("span", "side low", "lowers")] : [];
    const high = make("span", data.signed ? "side high" : "side", data.signed ? "raises " : "matters for ", ...what);
    this.legend.replaceChildren(...low, ends[0], ramp, ends[1], high);
  }

  facts() {
    const facts = this.data.facts.filter(([name]) => name !== "Method" || this.card.single);
    return make("dl", "facts", ...facts.map(([name, value]) => make("div", "", make("dt", "", name), make("dd", "", isolated(value)))));
  }

  drawTable() {
    const { data, row } = this;
    const heads = ["#", data.element, `value (${data.unit})`, "share"].map((name) => attributed(make("th", "", name), { scope: "col" }));
    const lines = data.elements.map((element, unit) =>
      make("tr", "", ...[String(unit + 1), isolated(element), row.quantity(unit), asPercent(row.shares[unit])].map((cell) => make("td", "", cell))));
    this.table.lastChild.replaceChildren(make("table", "values", make("thead", "", make("tr", "", ...heads)), make("tbody", "", ...lines)));
  }

  // What is said of a unit by the tooltip.
  saying(unit) {
    const { row, data } = this;
    if (Number.isNaN(row.values[unit])) return [make("span", "", "not seen: the score cannot depend on it")];
    const rank = `${asPercent(row.shares[unit])} of all magnitude, rank ${row.order.indexOf(unit) + 1} of ${row.order.length}`;
    return [make("span", "amount", `${row.quantity(unit)} ${data.unit}`), make("span", "", rank)];
  }

  brief(unit) {
    const seen = !Number.isNaN(this.row.values[unit]);
    return make("span", "", `${visible(this.data.facts[0][1])}: ${seen ? `${this.row.quantity(unit)} ${this.data.unit}` : "not seen"}`);
  }

  // All rows as lines of a table, for a file.
  lines() {
    const { data } = this, method = data.facts[0][1];
    return data.labels.flatMap((label, target) => {
      const { values, errors } = this.rowOf(target);
      const name = target === data.whole ? "whole answer" : label;
      return data.elements.map((element, unit) => [method, name, unit, element, Number.isNaN(values[unit]) ? "" : values[unit], errors ? errors[unit] : ""]);
    });
  }
}
