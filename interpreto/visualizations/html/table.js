// One row per text, with filters; the card of a text is built when its row is opened.
const CHUNK = 100;

class TextTable {
  constructor(data, deck) {
    Object.assign(this, { data, deck, filter: { prediction: "", label: "", right: "", query: "" }, key: data.sorted || "", down: true, limit: CHUNK });
    this.texts = data.rows.map(([at]) => deck.text(at).toLowerCase());
    this.labeled = data.rows.some(([, , , label]) => label !== null);
    this.predicted = data.rows.some(([, , prediction]) => prediction !== null);
    this.columns = [["", "text"], ...(this.predicted ? [["prediction", "prediction"]] : []), ...(this.labeled ? [["label", "true label"]] : []), ["score", data.score]];
    this.status = attributed(make("p", "hint count"), { "aria-live": "polite" });
    this.body = make("tbody");
    this.heads = this.columns.map(([key, name]) => this.head(key, name));
    this.more = button("target more", () => this.grow(), "Show more");
    this.controls = this.filters();
    const caption = make("caption", "spoken", "Texts; each row opens its explanation");
    this.element = make("article", "card texts", this.controls, this.status,
      make("table", "rows", caption, make("thead", "", make("tr", "", ...this.heads)), this.body), this.more);
    this.draw();
  }

  filters() {
    const names = this.data.classes.map((name, i) => [String(i), name]), used = (column) => names.filter(([i]) => this.data.rows.some((row) => String(row[column]) === i));
    const controls = make("div", "controls"), set = (name) => (value) => this.set({ [name]: value });
    if (this.predicted) controls.append(selection("Prediction", [["", "any"], ...used(2)], set("prediction")));
    if (this.labeled) controls.append(selection("True label", [["", "any"], ...used(3)], set("label")), selection("Right or wrong", [["", "both"], ["yes", "right"], ["no", "wrong"]], set("right")));
    controls.append(searchBox("Find in texts", set("query")));
    return controls;
  }

  // Show the texts of one cell of the confusion matrix, or other texts by name of the filter.
  choose(filter) {
    Object.assign(this.filter, { prediction: "", label: "", right: "", query: "" }, filter);
    const fields = [...this.controls.querySelectorAll("select, input")];
    const names = [...(this.predicted ? ["prediction"] : []), ...(this.labeled ? ["label", "right"] : []), "query"];
    names.forEach((name, i) => { fields[i].value = this.filter[name]; });
    this.set({});
  }

  set(change) {
    Object.assign(this.filter, change);
    this.limit = CHUNK;
    this.draw();
  }

  head(key, name) {
    const sort = button("sort", () => {
      this.down = this.key === key ? !this.down : key === "score";
      this.key = key;
      this.draw();
    }, name);
    return attributed(make("th", key || "text", sort), { scope: "col" });
  }

  chosen() {
    const { prediction, label, right, query } = this.filter, words = query.trim().toLowerCase();
    const rows = this.data.rows.map((row, i) => ({ row, i })).filter(({ row: [, , own, truth], i }) =>
      (prediction === "" || String(own) === prediction) && (label === "" || String(truth) === label)
      && (right === "" || (truth !== null && (own === truth) === (right === "yes"))) && this.texts[i].includes(words));
    const value = { "": (r) => r.i, prediction: (r) => r.row[2], label: (r) => r.row[3], score: (r) => r.row[4] }[this.key];
    const way = this.down && this.key ? -1 : 1;
    return rows.sort((a, b) => way * ((value(a) ?? -Infinity) - (value(b) ?? -Infinity)) || a.i - b.i);
  }

  draw() {
    hideTooltip();
    this.found = this.chosen();
    this.heads.forEach((head, i) => {
      const own = this.columns[i][0] === this.key;
      head.setAttribute("aria-sort", own ? (this.down && this.key ? "descending" : "ascending") : "none");
    });
    this.drawn = 0;
    this.body.replaceChildren();
    this.grow();
    const wrong = this.labeled ? this.found.filter(({ row }) => row[3] !== null && row[2] !== row[3]).length : 0;
    this.status.textContent = `${thousands(this.found.length)} of ${counted(this.data.rows.length, "text")}${this.labeled ? `, ${thousands(wrong)} wrong` : ""}`;
  }

  grow() {
    this.body.append(...this.found.slice(this.drawn, this.drawn + CHUNK).map(({ row }) => this.line(row)));
    this.drawn = Math.min(this.found.length, this.drawn + CHUNK);
    this.more.hidden = this.drawn === this.found.length;
    this.more.textContent = `Show ${thousands(Math.min(CHUNK, this.found.length - this.drawn))} more`;
  }

  line([at, target, prediction, label, score]) {
    const open = button("passage-button", () => {}, this.deck.passage(at, target));
    const row = make("tr", "", make("td", "text", open));
    if (this.predicted) row.append(make("td", "prediction", prediction === null ? "\u2013" : isolated(this.data.classes[prediction], 30)));
    if (this.labeled) {
      const right = prediction === label, sign = label === null ? "" : right ? "\u2713" : "\u2717";
      row.append(make("td", `label ${label === null ? "" : right ? "right" : "wrong"}`, make("span", "sign", make("span", "spoken", label === null ? "" : right ? "right: " : "wrong: "), attributed(make("span", "", sign), { "aria-hidden": "true" })), " ", label === null ? "\u2013" : isolated(this.data.classes[label], 30)));
    }
    row.append(make("td", "amount score", score === null ? "n/a" : this.data.percent ? `${(100 * score).toFixed(1)} %` : format(score)));
    open.title = "Open the explanation";
    expands(open, row, this.columns.length, (cell) => cell.append(this.deck.card(at)));
    return row;
  }
}
