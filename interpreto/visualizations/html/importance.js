// Which units matter over many texts: per class a row for each unit, with its mean, its interval and its occurrences.
const ORDERS = [["surest", "surest effect"], ["mean", "largest effect"], ["total", "largest sum"], ["texts", "most texts"], ["unit", "alphabet"]];
const SHOWN = 20, SENTENCES = 8, LANES = 5, BINS = 150;

class ImportanceChart {
  constructor(data, deck) {
    Object.assign(this, { data, deck, at: 0, order: data.order, sign: 0, query: "", limit: SHOWN });
    const several = data.classes.length > 1;
    const classes = data.classes.map(({ name, texts }, i) => [i, name, counted(texts, "text")]);
    this.status = attributed(make("p", "hint count"), { "aria-live": "polite" });
    this.body = make("tbody");
    this.heads = make("tr");
    this.more = button("target more", () => { this.limit += 2 * SHOWN; this.draw(); }, "Show more");
    const controls = make("div", "controls",
      selection("Order", ORDERS.filter(([name]) => name !== "total" || data.signed), (value) => this.set({ order: value })),
      ...(data.signed ? [selection("Effect", [[0, "for and against"], [1, "for the class"], [-1, "against it"]], (value) => this.set({ sign: Number(value) }))] : []),
      searchBox(`Find a ${data.element}`, (value) => this.set({ query: value })));
    controls.querySelector("select").value = data.order;
    const table = make("table", "chart", make("thead", "", this.heads), this.body);
    this.caption = make("caption", "spoken");
    table.prepend(this.caption);
    table.addEventListener("mouseover", (event) => this.point(event.target));
    table.addEventListener("mouseout", hideTooltip);
    this.element = make("article", "card importance",
      ...(several ? [choice("Class", classes, 0, (i) => this.set({ at: i }))] : []), controls, this.status, table, this.more, this.reading(), this.facts());
    this.draw();
  }

  get current() {
    return this.data.classes[this.at];
  }

  set(change) {
    Object.assign(this, change, { limit: SHOWN });
    this.draw();
  }

  chosen() {
    const query = this.query.trim().toLowerCase();
    const keys = { surest: (u) => -u.least, mean: (u) => -Math.abs(u.mean), total: (u) => -Math.abs(u.mean * u.count), texts: (u) => -u.texts };
    const units = this.current.units.filter((unit) => unit.mean * this.sign >= 0 && unit.unit.toLowerCase().includes(query));
    if (this.order === "unit") return units.sort((a, b) => a.unit.localeCompare(b.unit));
    return units.sort((a, b) => keys[this.order](a) - keys[this.order](b) || Math.abs(b.mean) - Math.abs(a.mean));
  }

  draw() {
    hideTooltip();
    const { data, current } = this, found = this.chosen(), shown = found.slice(0, this.limit);
    const values = shown.flatMap((unit) => this.values(unit)).concat(shown.flatMap(({ low, high, mean }) => [low ?? mean, high ?? mean])).sort((a, b) => a - b);
    const end = (share) => (values.length ? values[Math.round(share * (values.length - 1))] : 0);
    const low = data.signed ? Math.min(0, end(0.005)) : 0, high = Math.max(0, end(0.995));
    const span = high - low || 1;
    this.place = (value) => 3 + 94 * Math.min(1, Math.max(0, (value - low) / span));
    const axis = make("span", "axis", ...this.ticks(low, high).map((value) => this.tick(value)));
    const head = (name, content) => attributed(make("th", name, content), { scope: "col" });
    this.heads.replaceChildren(head("", data.element), head("effect", axis), head("amount", `mean [95 % interval], ${data.unit}`), head("amount", "texts"));
    axis.setAttribute("aria-label", "effect");
    this.body.replaceChildren(...shown.map((unit) => this.line(unit)));
    this.caption.textContent = `Effects on ${visible(current.name)}, in ${data.unit}`;
    this.status.textContent = `${counted(found.length, data.element)} in at least ${counted(data.minCount, "text")}, ${thousands(Math.min(shown.length, found.length))} shown`;
    this.more.hidden = shown.length >= found.length;
  }

  ticks(low, high) {
    const rough = (high - low) / 7 || 1, power = 10 ** Math.floor(Math.log10(rough));
    const size = [1, 2, 5, 10].map((step) => step * power).find((step) => step >= rough);
    const found = [];
    for (let i = Math.ceil(low / size); i * size <= high; i += 1) found.push(i * size);
    return found;
  }

  tick(value) {
    const node = make("span", "", String(Number(value.toPrecision(6))).replace("-", "\u2212"));
    node.style.left = `${this.place(value)}%`;
    return node;
  }

  values(unit) {
    unit.decoded = unit.decoded || decoded(unit.values);
    return unit.decoded;
  }

  line(unit) {
    const name = button("name", () => {}, isolated(unit.unit, 40));
    const ends = unit.low === null ? "one text" : `[${format(unit.low, this.data.signed)}, ${format(unit.high, this.data.signed)}]`;
    const amount = make("td", "amount", make("span", "", format(unit.mean, this.data.signed)), make("span", "ends", ` ${ends}`));
    const row = make("tr", unit.least > 0 || !this.data.signed ? "" : "unsure",
      attributed(make("th", "", name), { scope: "row" }), make("td", "effect", this.plot(unit)), amount,
      make("td", "amount", thousands(unit.texts)));
    name.title = `Sentences with \u201c${visible(unit.unit)}\u201d`;
    expands(name, row, 4, (cell) => cell.append(this.sentences(unit)));
    return row;
  }

  // The bar of the mean and its interval, over a dot for each occurrence.
  plot(unit) {
    const side = (value) => (value < 0 ? "against" : "for"), zero = this.place(0), mean = this.place(unit.mean);
    const picture = drawn("svg", { width: "100%", height: 34, "aria-hidden": "true", focusable: "false" },
      drawn("line", { class: "zero", x1: `${zero}%`, x2: `${zero}%`, y1: 0, y2: 34 }),
      drawn("rect", { class: `bar ${side(unit.mean)}`, x: `${Math.min(zero, mean)}%`, width: `${Math.abs(mean - zero)}%`, y: 10, height: 14, rx: 3 }));
    const lanes = new Map();
    this.values(unit).forEach((value, i) => {
      const x = this.place(value), bin = Math.round((x / 100) * BINS), lane = lanes.get(bin) || 0;
      lanes.set(bin, lane + 1);
      const up = (lane % (2 * LANES - 1)) + 1, y = 17 + (up % 2 ? -1 : 1) * Math.floor(up / 2) * 3;
      const wrong = unit.wrong && unit.wrong.includes(i) ? " wrong" : "";
      picture.append(drawn("circle", { class: `${side(value)}${wrong}`, cx: `${x}%`, cy: y, r: 2.2, "data-place": i }));
    });
    if (unit.low !== null) {
      const a = `${this.place(unit.low)}%`, b = `${this.place(unit.high)}%`;
      picture.append(drawn("line", { class: "range", x1: a, x2: b, y1: 17, y2: 17 }), ...[a, b].map((x) => drawn("line", { class: "range", x1: x, x2: x, y1: 12, y2: 22 })));
    }
    picture.unit = unit;
    return picture;
  }

  point(node) {
    if (node.dataset === undefined || node.dataset.place === undefined) return;
    const { unit } = node.ownerSVGElement, place = Number(node.dataset.place);
    const [at] = unit.places[place];
    showTooltip(node, [make("strong", "", isolated(this.deck.text(at), 140)), make("span", "amount", `${format(this.values(unit)[place], this.data.signed)} ${this.data.unit}`)]);
  }

  sentences(unit) {
    const values = this.values(unit), order = values.map((_, i) => i).sort((a, b) => (unit.mean < 0 ? values[a] - values[b] : values[b] - values[a]));
    const list = make("ul", "sentences"), status = attributed(make("p", "spoken"), { "aria-live": "polite" });
    let shown = 0;
    const more = button("target more", () => grow(), "");
    const grow = () => {
      for (const i of order.slice(shown, shown + SENTENCES)) list.append(this.sentence(unit, unit.places[i], values[i]));
      shown = Math.min(order.length, shown + SENTENCES);
      more.hidden = shown === order.length;
      more.textContent = `Show ${Math.min(SENTENCES, order.length - shown)} more of ${counted(order.length, "occurrence")}`;
      status.textContent = `${shown} sentences with ${visible(unit.unit)}`;
    };
    grow();
    const part = unit.count > order.length ? [make("p", "hint", `${thousands(order.length)} of ${thousands(unit.count)} occurrences are in this page, evenly spread.`)] : [];
    return make("div", "", list, more, ...part, status);
  }

  sentence(unit, [at, member, target, units, fact], value) {
    const item = make("li"), open = button("quiet", () => {}, "explanation");
    let card = null;
    open.setAttribute("aria-expanded", "false");
    open.addEventListener("click", () => {
      card = card || this.deck.card(at);
      const shows = !card.isConnected;
      if (shows) item.append(card);
      else card.remove();
      open.setAttribute("aria-expanded", String(shows));
    });
    item.append(make("span", `chip ${value < 0 ? "against" : "for"}`, format(value, this.data.signed)),
      make("span", "line", this.deck.passage(at, target, units, member), ...(fact ? [make("span", "hint", ` ${visible(fact)}`)] : [])), open);
    return item;
  }

  reading() {
    const { data } = this, sign = data.signed ? "right of 0 speaks for the class, left of 0 against it" : "magnitudes say how much, not in which direction";
    return make("details", "all reading", make("summary", "", "How to read this"),
      make("p", "", `A dot is one occurrence of the ${data.element} in a text: its effect on the score of the class, in ${data.unit}; ${sign}. ${data.wrong ? "A ring is in a text that the model gets wrong. " : ""}The bar is the mean over texts, the whisker its 95 % interval over texts like these. A pale ${data.element} may have no effect: its interval contains 0. Of twenty ${plural(data.element)} without any effect, about one has an interval that does not.`),
      make("p", "", `Order \u201csurest effect\u201d sorts by the end of the interval nearer to 0, so that a ${data.element} of few texts comes late. Select a ${data.element} to see its sentences.`));
  }

  facts() {
    return make("dl", "facts", ...this.data.facts.map(([name, value]) => make("div", "", make("dt", "", name), make("dd", "", isolated(value)))));
  }
}
