const element = document.currentScript.parentElement;
const data = JSON.parse(element.querySelector('script[type="application/json"]').textContent);
const OUTPUT = -1, WIDE = 92, TALL = 64, LEFT = 150, BOX = { width: 84, height: 24 };

function drawn(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  node.append(...children);
  return attributed(node, attributes);
}

const byInfluence = data.graph !== null;
const share = (value) => `${(100 * value).toFixed(1)} %`;
// What the values of a node say.
function told(node) {
  if (!byInfluence) return [`Ablating it costs ${format(node.effect)} of the metric, as estimated by ${visible(data.method)}.`];
  const own = node.amount === null ? [] : [`The token has ${format(node.amount)} of it.`];
  return [`${share(node.influence)} of what the metric is made of goes through it, over all paths.`, `With signs, the metric has ${format(node.effect, true)} from it.`, ...own];
}

const nodeName = (at) => {
  if (at === OUTPUT) return visible(data.metric);
  const node = data.nodes[at];
  return node.token === null ? visible(node.name) : `${visible(node.name)} at ${shortened(data.tokens[node.token], 30)}`;
};

class Graph {
  constructor() {
    const rows = data.rows.length;
    Object.assign(this, { here: 0, buttons: [], lines: [], height: TALL * (rows + 2), width: LEFT + WIDE * Math.max(1, data.width) + 20 });
    this.largest = Math.max(...data.nodes.map((node) => Math.abs(node.effect ?? 0)), 1e-12);
    this.heaviest = Math.max(...data.edges.map(([, , weight]) => Math.abs(weight ?? 0)), 1e-12);
    const svg = drawn("svg", { width: this.width, height: this.height, viewBox: `0 0 ${this.width} ${this.height}`, role: "group", "aria-label": "Nodes of the circuit, the first layer at the bottom" });
    svg.append(...this.rules(), ...data.edges.map((edge) => this.edge(edge)), ...data.nodes.map((_, at) => this.node(at)), this.output());
    this.drawing = reachable(make("div", "scroll wide drawing", svg), "The circuit");
    this.drawing.addEventListener("keydown", (event) => this.key(event));
    this.details = attributed(make("div", "details"), { "aria-live": "polite" });
    this.element = make("section", "card", make("h2", "", isolated(data.text, 300)), ...this.more(), this.drawing, this.details);
    if (data.nodes.length) this.roam(0);
  }

  more() {
    const others = data.texts > 1 ? [make("p", "hint", `The first of ${data.texts} texts; values are means over all.`)] : [];
    if (byInfluence) others.push(make("p", "hint", `Replacement score ${format(data.graph[0])}: the share of the influence of all that enters which is the tokens' and no error's. Completeness score ${format(data.graph[1])}: the share of what enters nodes that is explained. Both are of the whole graph. Nodes in italics are no concepts.`));
    return others;
  }

  place(at) {
    if (at === OUTPUT) return [LEFT + (WIDE * data.width) / 2, TALL * 0.5];
    const { column, row } = data.nodes[at];
    return [LEFT + WIDE * (column + 0.5), this.height - TALL * (row + 1.5)];
  }

  rules() {
    const parts = data.rows.flatMap((name, row) => {
      const y = this.height - TALL * (row + 1.5);
      if (!name) return []; // the place below goes on
      return [drawn("line", { class: "rule", x1: LEFT, x2: this.width, y1: y, y2: y }), drawn("text", { class: "row", x: 6, y: y + 4 }, shortened(name, 24))];
    });
    const tokens = data.tokens.map((token, at) => drawn("text", { class: "column", x: LEFT + WIDE * (data.columns[at] + 0.5), y: this.height - TALL * 0.4, "text-anchor": "middle" }, shortened(token, 14)));
    return [...parts, ...tokens];
  }

  edge([source, target, weight]) {
    const [x1, y1] = this.place(source), [x2, y2] = this.place(target), middle = (y1 + y2) / 2;
    const path = drawn("path", { class: weight < 0 ? "edge against" : "edge", d: `M${x1} ${y1 - BOX.height / 2}C${x1} ${middle} ${x2} ${middle} ${x2} ${y2 + BOX.height / 2}`, "stroke-width": (1 + 5 * Math.abs(weight) / this.heaviest).toFixed(2), "aria-hidden": "true" });
    this.lines.push([path, source, target]);
    return path;
  }

  node(at) {
    const node = data.nodes[at], [x, y] = this.place(at);
    const box = drawn("rect", { x: x - BOX.width / 2, y: y - BOX.height / 2, width: BOX.width, height: BOX.height, rx: 6 });
    const name = drawn("text", { x, y: y + 4, "text-anchor": "middle", "aria-hidden": "true" }, shortened(node.short, 14));
    const group = drawn("g", { class: `node${node.effect < 0 ? " against" : ""}${node.bare ? " bare" : ""}`, role: "button", tabindex: -1, "aria-pressed": "false", "aria-label": `${nodeName(at)}: ${format(node.effect, true)}` }, box, name);
    group.style.setProperty("--weight", `${(100 * Math.abs(node.effect) / this.largest).toFixed(1)}%`);
    group.addEventListener("click", () => this.choose(at));
    group.addEventListener("focus", () => this.roam(at));
    group.addEventListener("mouseenter", () => showTooltip(group, [make("strong", "", nodeName(at)), make("span", "", byInfluence ? `influence ${share(node.influence)}, effect ${format(node.effect, true)}` : `ablating it costs ${format(node.effect)}`)]));
    group.addEventListener("mouseleave", hideTooltip);
    this.buttons.push(group);
    return group;
  }

  output() {
    const [x, y] = this.place(OUTPUT);
    return drawn("text", { x, y, "text-anchor": "middle", "font-weight": 650 }, shortened(data.metric, 60));
  }

  // The node that the Tab key reaches.
  roam(at) {
    this.buttons[this.here].setAttribute("tabindex", -1);
    this.here = at;
    this.buttons[at].setAttribute("tabindex", 0);
  }

  choose(at) {
    this.buttons.forEach((button, own) => button.setAttribute("aria-pressed", String(own === at)));
    this.roam(at);
    this.drawing.classList.add("chosen");
    for (const [path, source, target] of this.lines) path.classList.toggle("linked", source === at || target === at);
    const list = (title, edges, end) => {
      const items = edges.map((edge) => {
        const other = edge[end];
        const name = other === OUTPUT ? make("span", "", nodeName(other)) : pressed(make("button", "name", nodeName(other)), () => { this.choose(other); this.buttons[other].focus(); });
        return make("li", "", name, make("span", "amount", format(edge[2], true)));
      });
      return make("div", "", make("h4", "", title), items.length ? make("ul", "", ...items) : make("p", "hint", "no edge that was kept"));
    };
    this.details.replaceChildren(
      make("h3", "", nodeName(at)), make("p", "hint", told(data.nodes[at]).join(" ")),
      make("div", "ends", list("from", data.edges.filter(([, target]) => target === at), 0), list("to", data.edges.filter(([source]) => source === at), 1)));
  }

  key(event) {
    if (!event.target.classList.contains("node")) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.choose(this.here);
      return;
    }
    const { row, column } = data.nodes[this.here];
    const all = data.nodes.map((node, at) => ({ ...node, at }));
    const nearest = (nodes) => nodes.sort((a, b) => Math.abs(a.column - column) - Math.abs(b.column - column))[0];
    const same = all.filter((node) => node.row === row);
    const next = {
      ArrowUp: () => nearest(all.filter((node) => node.row === row + 1)),
      ArrowDown: () => nearest(all.filter((node) => node.row === row - 1)),
      ArrowRight: () => nearest(same.filter((node) => node.column > column)),
      ArrowLeft: () => nearest(same.filter((node) => node.column < column)),
    }[event.key];
    if (!next) return;
    event.preventDefault();
    const found = next();
    if (found) this.buttons[found.at].focus();
  }
}

// Faithfulness and completeness over the number of nodes; the axis counts measured sizes, not nodes.
function curve() {
  const points = data.curve.filter(([, faithfulness]) => faithfulness !== null), width = 480, height = 180;
  const values = points.flatMap(([, a, b]) => [a, b]), low = Math.min(0, ...values), high = Math.max(1, ...values);
  const x = (at) => 40 + (at * (width - 60)) / Math.max(1, points.length - 1), y = (value) => 15 + ((high - value) * (height - 45)) / (high - low);
  const path = (which) => points.map((point, at) => `${at ? "L" : "M"}${x(at).toFixed(1)} ${y(point[which]).toFixed(1)}`).join("");
  const levels = [0, 1].flatMap((level) => [drawn("line", { class: "rule", x1: 40, x2: width - 20, y1: y(level), y2: y(level) }), drawn("text", { class: "axis", x: 30, y: y(level) + 4, "text-anchor": "end" }, String(level))]);
  const names = points.map(([size], at) => drawn("text", { class: "axis", x: x(at), y: height - 8, "text-anchor": "middle" }, String(size)));
  const svg = drawn("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Faithfulness and completeness over the number of nodes; the table has the numbers" }, ...levels, ...names, drawn("path", { class: "line", d: path(1) }), drawn("path", { class: "line second", d: path(2) }));
  const head = make("tr", "", ...["nodes", "faithfulness", "completeness"].map((name) => attributed(make("th", "", name), { scope: "col" })));
  const rows = data.curve.map(([size, a, b]) => make("tr", size === data.nodes.length ? "chosen" : "", attributed(make("th", "", String(size)), { scope: "row" }), make("td", "", format(a)), make("td", "", format(b))));
  const table = make("table", "curve-values", make("caption", "spoken", "Faithfulness and completeness over the number of nodes"), make("thead", "", head), make("tbody", "", ...rows));
  const hint = make("p", "hint", `Faithfulness (solid): the share of the metric that the first nodes keep with every other part ablated (${visible(data.ablation)}). Completeness (dashed): the share that is lost when they alone are ablated. ${format(data.scores[0])} is the metric of the model, ${format(data.scores[1])} with every part ablated.`);
  return make("section", "card", make("h2", "", `${data.nodes.length} of ${data.candidates} parts`), hint, make("div", "drawing", svg), table);
}

const fixed = element.querySelector(".static");
if (fixed) fixed.remove();
const colors = byInfluence ? "Its color says what the metric has from it over all paths, a line what one adds to the next while attention patterns stay as they are." : "Its color says what the metric loses without it, a line what passes directly from one part to another.";
const note = make("p", "", `Each box is a part of the model; the first layer is at the bottom, the output at the top. ${colors} Choose a box to follow its lines; arrow keys move between boxes.`);
element.append(note, new Graph().element, curve(), tooltip);
