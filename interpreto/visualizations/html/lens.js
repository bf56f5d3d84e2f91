const element = document.currentScript.parentElement;
const data = JSON.parse(element.querySelector('script[type="application/json"]').textContent);
const COLORS = ["probability of the answer", "distance from the answer"];
let colored = 0;

class Table {
  constructor(text) {
    Object.assign(this, { text, here: [text.layers.length - 1, text.tokens.length - 1], cells: new Map() });
    this.details = attributed(make("div", "details"), { "aria-live": "polite" });
    const scroll = reachable(make("div", "scroll wide", this.table()), "Layers by tokens");
    scroll.addEventListener("keydown", (event) => this.key(event));
    this.element = make("section", "card", make("h2", "", isolated(text.text, 300)), scroll, this.details);
    this.paint();
    this.choose(...this.here);
  }

  table() {
    const { text } = this, several = text.tokens.length > 1;
    const head = (name, content) => attributed(make("th", name, content), { scope: "col" });
    const heads = text.tokens.map((token) => head("", isolated(several ? token : "the text", 18)));
    const top = make("tr", "", head("corner", "layer"), ...heads);
    const rows = text.layers.map((name, row) => {
      const cells = text.tokens.map((_, at) => make("td", "", this.cell(row, at)));
      return make("tr", "", attributed(make("th", "", name), { scope: "row" }), ...cells);
    });
    const answers = make("tr", "answers", attributed(make("th", "", "answer"), { scope: "row" }), ...text.answers.map((answer) => make("td", "", isolated(answer, 14))));
    const caption = make("caption", "spoken", "The likeliest output after each layer, the last layer first");
    return make("table", "layers", caption, make("thead", "", top, answers), make("tbody", "", ...rows.reverse()));
  }

  cell(row, at) {
    const button = pressed(make("button", "cell unit", isolated(this.likeliest(row, at)[0][0], 14)), () => this.choose(row, at));
    attributed(button, { tabindex: -1, "aria-label": this.said(row, at), "aria-pressed": "false" });
    button.addEventListener("mouseenter", () => showTooltip(button, this.lines(row, at)));
    button.addEventListener("mouseleave", hideTooltip);
    button.addEventListener("focus", () => this.roam(row, at));
    this.cells.set(`${row} ${at}`, button);
    return button;
  }

  likeliest(row, at) {
    const { text } = this;
    return text.ids[row][at].map((id, i) => [text.labels[id], text.chances[row][at][i]]);
  }

  layer(row) {
    const name = this.text.layers[row];
    return /^\d+$/.test(name) ? `layer ${name}` : name;
  }

  said(row, at) {
    const { text } = this, [[name, chance]] = this.likeliest(row, at);
    return `${this.layer(row)}, ${shortened(text.tokens[at], 40)}: ${shortened(name, 40)}, ${asPercent(chance)}; the answer ${shortened(text.answers[at], 40)} has ${asPercent(text.answer[row][at])}, rank ${text.ranks[row][at]}`;
  }

  lines(row, at) {
    const { text } = this;
    return [make("strong", "", `${this.layer(row)} \u00b7 `, isolated(text.tokens[at], 40)),
      ...this.likeliest(row, at).map(([name, chance]) => make("span", "", isolated(name, 40), ` ${asPercent(chance)}`)),
      make("span", "", "answer ", isolated(text.answers[at], 40), ` ${asPercent(text.answer[row][at])}, rank ${text.ranks[row][at]}`)];
  }

  // The cell that the Tab key reaches.
  roam(row, at) {
    this.button(this.here).tabIndex = -1;
    this.here = [row, at];
    this.button(this.here).tabIndex = 0;
  }

  choose(row, at) {
    this.button(this.here).setAttribute("aria-pressed", "false");
    this.roam(row, at);
    this.button(this.here).setAttribute("aria-pressed", "true");
    const items = this.likeliest(row, at).map(([name, chance]) => {
      const bar = make("i");
      bar.style.width = `${Math.round(100 * chance)}%`;
      return make("li", "", isolated(name, 40), make("span", "amount", asPercent(chance)), make("span", "track", bar));
    });
    const { text } = this;
    this.details.replaceChildren(
      make("h3", "", `${this.layer(row)}, at `, isolated(text.tokens[at], 40)), make("ol", "likeliest", ...items),
      make("p", "hint", "The answer ", isolated(text.answers[at], 40), ` has ${asPercent(text.answer[row][at])} here and rank ${text.ranks[row][at]}; this layer is ${format(text.divergence[row][at])} nats from the model\u2019s output.`));
  }

  button([row, at]) {
    return this.cells.get(`${row} ${at}`);
  }

  key(event) {
    const [row, at] = this.here, rows = this.text.layers.length, columns = this.text.tokens.length;
    const moves = { ArrowUp: [row + 1, at], ArrowDown: [row - 1, at], ArrowRight: [row, at + 1], ArrowLeft: [row, at - 1], Home: [row, 0], End: [row, columns - 1] };
    const next = moves[event.key];
    if (!next || !event.target.classList.contains("cell")) return;
    event.preventDefault();
    if (next[0] >= 0 && next[0] < rows && next[1] >= 0 && next[1] < columns) this.button(next).focus();
  }

  paint() {
    const { text } = this, furthest = Math.max(...text.divergence.flat().map((value) => value ?? 0)) || 1;
    for (const [key, button] of this.cells) {
      const [row, at] = key.split(" ").map(Number);
      const share = colored ? (text.divergence[row][at] ?? furthest) / furthest : text.answer[row][at];
      button.style.setProperty("--weight", `${Math.round(100 * share)}%`);
    }
  }
}

const fixed = element.querySelector(".static");
if (fixed) fixed.remove();
const tables = data.texts.map((text) => new Table(text));
const note = make("p", "", `Each cell is what the model would answer after that layer, by ${visible(data.texts[0].method)}; the last layer is at the top. The answer of a column is what is followed through the layers: what the model predicts there, unless another output was asked for. Point at a cell, or choose it, to see its likeliest outputs; arrow keys move between cells.`);
const color = oneOf("Color", COLORS, 0, (at) => {
  colored = at;
  tables.forEach((table) => table.paint());
});
element.append(note, make("div", "tools switches", color), ...tables.map((table) => table.element), tooltip);
