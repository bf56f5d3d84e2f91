const element = document.currentScript.parentElement;
const data = JSON.parse(element.querySelector('script[type="application/json"]').textContent);
const DIRECTIONS = { denoise: "clean into corrupt", noise: "corrupt into clean" };
const directions = Object.keys(data.pairs[0].grids);
let direction = directions[0];

class Grid {
  constructor(pair) {
    Object.assign(this, { pair, here: [pair.parts.length - 1, pair.tokens.length - 1], cells: new Map() });
    this.details = attributed(make("div", "details"), { "aria-live": "polite" });
    this.hint = make("p", "hint");
    const scroll = reachable(make("div", "scroll wide", this.table()), "Parts by tokens");
    scroll.addEventListener("keydown", (event) => this.key(event));
    const corrupt = make("p", "patching-texts", "corrupt: ", isolated(pair.corrupt, 300));
    const scores = make("p", "patching-texts", `${visible(pair.metric)}: ${format(pair.scores[0])} clean, ${format(pair.scores[1])} corrupt`);
    this.element = make("section", "card", make("h2", "", isolated(pair.clean, 300)), corrupt, scores, scroll, this.hint, this.details);
    this.paint();
    this.choose(...this.here);
  }

  table() {
    const { pair } = this;
    const heads = pair.tokens.map((token, at) => {
      const changed = token !== pair.others[at];
      const name = changed ? [isolated(token, 14), make("br"), isolated(pair.others[at], 14)] : [isolated(token, 14)];
      return attributed(make("th", changed ? "changed" : "", ...name), { scope: "col" });
    });
    const corner = attributed(make("th", "corner", "part"), { scope: "col" });
    const rows = pair.parts.map((name, row) => {
      const cells = pair.tokens.map((_, at) => make("td", "", this.cell(row, at)));
      return make("tr", "", attributed(make("th", "", visible(name)), { scope: "row" }), ...cells);
    });
    const caption = make("caption", "spoken", "The change of the metric by each part at each token, the last part first");
    return make("table", "layers grid", caption, make("thead", "", make("tr", "", corner, ...heads)), make("tbody", "", ...rows.reverse()));
  }

  cell(row, at) {
    const button = pressed(make("button", "cell unit"), () => this.choose(row, at));
    attributed(button, { tabindex: -1, "aria-pressed": "false" });
    button.addEventListener("mouseenter", () => showTooltip(button, [make("strong", "", this.said(row, at))]));
    button.addEventListener("mouseleave", hideTooltip);
    button.addEventListener("focus", () => this.roam(row, at));
    this.cells.set(`${row} ${at}`, button);
    return button;
  }

  value(row, at, way = direction) {
    return this.pair.grids[way][row][at];
  }

  shown(value) {
    if (value === null) return "n/a";
    return this.pair.shares ? value.toFixed(2).replace("-", "\u2212") : format(value, true);
  }

  amount(value) {
    return this.pair.shares ? `${this.shown(value)} of the gap` : this.shown(value);
  }

  said(row, at) {
    const { pair } = this;
    return `${visible(pair.parts[row])}, ${shortened(pair.tokens[at], 40)}: ${this.amount(this.value(row, at))}`;
  }

  // The cell that the Tab key reaches.
  roam(row, at) {
    this.button(this.here).tabIndex = -1;
    this.here = [row, at];
    this.button(this.here).tabIndex = 0;
  }

  choose(row, at) {
    const { pair } = this;
    this.button(this.here).setAttribute("aria-pressed", "false");
    this.roam(row, at);
    this.button(this.here).setAttribute("aria-pressed", "true");
    const both = directions.map((way) => make("p", "", `${DIRECTIONS[way]}: ${this.amount(this.value(row, at, way))}`));
    const token = pair.tokens[at] === pair.others[at] ? [isolated(pair.tokens[at], 40)] : [isolated(pair.tokens[at], 40), " / ", isolated(pair.others[at], 40)];
    this.details.replaceChildren(make("h3", "", `${visible(pair.parts[row])}, at `, ...token), ...both);
  }

  button([row, at]) {
    return this.cells.get(`${row} ${at}`);
  }

  key(event) {
    const [row, at] = this.here, rows = this.pair.parts.length, columns = this.pair.tokens.length;
    const moves = { ArrowUp: [row + 1, at], ArrowDown: [row - 1, at], ArrowRight: [row, at + 1], ArrowLeft: [row, at - 1], Home: [row, 0], End: [row, columns - 1] };
    const next = moves[event.key];
    if (!next || !event.target.classList.contains("cell")) return;
    event.preventDefault();
    if (next[0] >= 0 && next[0] < rows && next[1] >= 0 && next[1] < columns) this.button(next).focus();
  }

  paint() {
    const { pair } = this, grid = pair.grids[direction];
    const largest = Math.max(...grid.flat().map((value) => Math.abs(value ?? 0))) || 1;
    for (const [key, button] of this.cells) {
      const [row, at] = key.split(" ").map(Number), value = this.value(row, at), weight = (value ?? 0) / largest;
      button.textContent = this.shown(value);
      button.classList.toggle("none", !value);
      button.classList.toggle("against", weight < 0);
      button.classList.toggle("faint", Math.abs(weight) < 0.05);
      button.style.setProperty("--weight", `${(100 * Math.abs(weight)).toFixed(1)}%`);
      attributed(button, { "aria-label": this.said(row, at) });
    }
    const fewer = pair.parts.length < pair.count ? `The ${pair.parts.length} parts of ${pair.count} with the largest changes. ` : "";
    const agreement = pair.agreement[direction];
    const trust = pair.method === "exact" ? "Every cell is a pass of the model." : `Values are ${pair.method === "integrated" ? "integrated gradients" : "first-order estimates"}; of the largest cells, exact patching ranks them with a Spearman correlation of ${agreement === null ? "n/a" : format(agreement)}.`;
    this.hint.textContent = fewer + trust;
  }
}

const fixed = element.querySelector(".static");
if (fixed) fixed.remove();
const grids = data.pairs.map((pair) => new Grid(pair));
const note = make("p", "", "A cell is how far the metric moves from one text\u2019s to the other\u2019s when this part at this token is exchanged alone: 1 is all the way. Clean into corrupt says what suffices to bring the answer back, corrupt into clean what it needs. Arrow keys move between cells.");
const ways = directions.length < 2 ? [] : [make("div", "tools switches", oneOf("Exchange", directions.map((way) => DIRECTIONS[way]), 0, (at) => {
  direction = directions[at];
  grids.forEach((grid) => grid.paint());
}))];
element.append(note, ...ways, ...grids.map((grid) => grid.element), tooltip);
