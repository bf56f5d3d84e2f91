const MANY = 60; // units from which a text may need another scale of colors
const LONG = 120; // units of a text that is shown in a box, with a strip at its side

// The text as the model read it: its units, and the tokens of an answer, each of which is a button.
class Passage {
  constructor(panel) {
    const { data } = panel;
    Object.assign(this, { panel, data, stops: [], units: [], frozen: false });
    this.chosen = data.answered && data.labels.length > 1;
    this.text = attributed(make("div", "passage"), { role: "group", "aria-label": "The text as the model read it; arrow keys move between its elements" });
    this.element = make("div", "reading", this.text);
    let at = 0;
    for (const [kind, count, role] of data.blocks) {
      const block = attributed(make("div", kind), { dir: "auto" });
      if (kind === "frozen") this.frozen = true;
      if (role) this.text.append(make("div", "role", role));
      this.fill(block, data.segments.slice(at, at + count));
      this.text.append(block);
      at += count;
    }
    if (data.elements.length >= LONG) this.addStrip();
    this.listen();
  }

  listen() {
    this.text.addEventListener("keydown", (event) => this.press(event));
    this.text.addEventListener("click", (event) => this.choose(event.target));
    for (const kind of ["mouseover", "focusin"]) this.text.addEventListener(kind, (event) => this.point(event.target));
    for (const kind of ["mouseout", "focusout"]) this.text.addEventListener(kind, () => this.point(this.text));
  }

  // Code keeps its own letters: in a line, or between fences as a block.
  fill(block, segments) {
    let before = 0;
    for (const { key: kind, items } of stretches(segments, ([, , , , marks]) => (marks || 0) & 3)) {
      if (before === 2) items[0] = [items[0][0].replace(/^\r?\n/, ""), ...items[0].slice(1)]; // a block ends its line
      before = kind;
      const place = kind ? make("span", kind === 2 ? "code fence" : "code") : block;
      for (const { key: row, items: own } of stretches(items, (segment) => (this.chosen ? segment[3] : null))) place.append(...this.run(row, own));
      if (kind) block.append(place);
    }
  }

  // Segments outside of all tokens, or all segments of one token, which form a button; leading space stays outside of it.
  run(row, segments) {
    if (row === null) return segments.map((segment) => this.segment(segment));
    const [, space, first] = segments[0][0].match(/^(\s*)(.*)$/s);
    if (segments.length > 1 || first) segments[0] = [first, ...segments[0].slice(1)];
    else segments[0] = ["\u21b5".repeat(space.includes("\n")) + space, ...segments[0].slice(1)];
    const parts = segments.filter(([content]) => content).map((segment) => this.segment(segment, true));
    const units = segments.map(([, unit]) => unit).filter((unit) => unit !== null);
    const token = this.reached(attributed(make("span", "token", ...parts), { role: "button", "data-row": row }), units, row);
    const joined = segments.some(([, , , , marks]) => marks & 12);
    if (joined) token.classList.add("joined");
    else if (this.data.chances && segments.map(([content]) => content).join("").length < 24) token.dataset.chance = asPercent(this.data.chances[row]);
    return segments.length > 1 || first ? [space, token] : [token];
  }

  segment([content, unit, named, , marks], inside) {
    const node = make("span", unit === null ? (named ? "mark" : "") : named ? "unit named" : "unit", visible(content));
    if (unit === null) return node;
    if (marks & 4) node.classList.add("continues");
    if (marks & 8) node.classList.add("continued");
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

  show(row, target, full) {
    for (const [node, unit] of this.units) row.paint(node, row.values[unit], full);
    for (const { node, units, row: own } of this.stops) {
      const values = units.map((unit) => `${visible(this.data.elements[unit])}: ${row.quantity(unit)}`).join(", ");
      node.setAttribute("aria-label", own === null ? values : this.spoken(own, values));
      if (own !== null) node.setAttribute("aria-pressed", String(own === target));
    }
    this.full = full;
    this.drawStrip();
  }

  spoken(own, values) {
    const chance = this.data.chances ? `, probability ${asPercent(this.data.chances[own])}` : "";
    return `${visible(this.data.labels[own]).trim()}, token ${own + 1} of the answer${chance}. ${values}`;
  }

  choose(node) {
    const token = node.closest("[data-row]"), { card } = this.panel;
    if (token) card.show(token.getAttribute("aria-pressed") === "true" ? card.home(this.panel) : Number(token.dataset.row), this.panel);
  }

  point(node) {
    const at = node.closest("[data-unit]") || (node.dataset.row === undefined ? null : node.querySelector("[data-unit]"));
    const unit = at ? Number(at.dataset.unit) : null;
    this.panel.card.link(unit, this.panel);
    if (!at) return hideTooltip();
    const lines = [make("strong", "", isolated(this.data.elements[unit], 80)), ...this.panel.saying(unit)];
    showTooltip(at, lines.concat(this.panel.card.others(this.panel).map((panel) => panel.brief(unit))));
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
      this.reach(there);
    }
    event.preventDefault();
  }

  reach(there) {
    for (const { node } of this.stops) if (node.tabIndex === 0) node.tabIndex = -1;
    this.stops[there].node.tabIndex = 0;
    this.stops[there].node.focus({ preventScroll: true });
    this.stops[there].node.scrollIntoView({ block: "nearest" });
  }

  // Scroll to a unit and point at it.
  reveal(unit) {
    const there = this.stops.findIndex(({ units }) => units.includes(unit));
    if (there < 0) return;
    this.stops[there].node.scrollIntoView({ block: "center" });
    this.reach(there);
  }

  // A long text is in a box; the strip at its side shows where its colors are, and leads there.
  addStrip() {
    this.text.classList.add("long");
    this.strip = attributed(make("div", "strip"), { "aria-hidden": "true", title: "The whole text: click to go to a place" });
    this.strip.addEventListener("click", (event) => {
      const box = this.strip.getBoundingClientRect(), share = (event.clientY - box.top) / box.height;
      this.text.scrollTop = share * this.text.scrollHeight - this.text.clientHeight / 2;
    });
    this.element.append(this.strip);
    new ResizeObserver(() => this.drawStrip()).observe(this.text);
  }

  drawStrip() {
    if (!this.strip || !this.text.clientHeight) return;
    const { row } = this.panel, count = 100, height = this.text.scrollHeight, marks = new Array(count).fill(0);
    for (const [node, unit] of this.units) {
      const bin = Math.min(count - 1, Math.floor((count * node.offsetTop) / height)), weight = row.weight(row.values[unit], this.full);
      if (Math.abs(weight) > Math.abs(marks[bin])) marks[bin] = weight;
    }
    const color = (weight) => `color-mix(in oklab, var(--${weight < 0 ? "against" : "for"}-edge) ${(100 * Math.abs(weight)).toFixed(0)}%, var(--soft))`;
    this.strip.style.background = `linear-gradient(${marks.map((weight, i) => `${color(weight)} ${i}% ${i + 1}%`).join(",")})`;
  }
}
