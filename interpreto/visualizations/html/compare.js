const LISTED = 12; // units of a comparison before all are asked for
const APART = 0.5; // of the fullest color: values of two methods that differ by more disagree

// Methods side by side: units by methods in one order, how their ranks agree, and on what they disagree.
class Comparison {
  constructor(panels) {
    Object.assign(this, { panels, sorted: -1, all: false });
    this.element = make("section", "comparison");
    this.units = panels[0].data.elements.map((_, unit) => unit);
  }

  show() {
    this.weights = this.panels.map(({ row }) => this.units.map((unit) => row.weight(row.values[unit])));
    const common = this.units.filter((unit) => this.panels.every(({ row }) => !Number.isNaN(row.values[unit])));
    const pairs = this.panels.flatMap((_, a) => this.panels.slice(a + 1).map((_, b) => [a, a + 1 + b]));
    this.element.replaceChildren(make("h3", "", "Side by side"), this.agreement(pairs, common), this.apart(pairs, common), this.table());
  }

  name(a) {
    return visible(this.panels[a].data.facts[0][1]);
  }

  // Magnitudes have no sign: beside them, only sizes count.
  pair(a, b) {
    const signed = this.panels[a].data.signed && this.panels[b].data.signed;
    return [this.weights[a], this.weights[b]].map((weights) => (signed ? weights : weights.map(Math.abs)));
  }

  agreement(pairs, common) {
    const items = pairs.map(([a, b]) => {
      const [one, other] = this.pair(a, b), found = spearman(common.map((unit) => one[unit]), common.map((unit) => other[unit]));
      return make("li", "", `${this.name(a)} and ${this.name(b)}: `, make("strong", "", found === null ? "n/a" : found.toFixed(2).replace("-", "\u2212")));
    });
    const head = attributed(make("span", "", "Rank correlation"), { title: "Spearman: 1 is the same order of the values, 0 no relation, \u22121 the opposite order" });
    return make("div", "agreement", head, make("ul", "", ...items));
  }

  apart(pairs, common) {
    const gap = (unit) => Math.max(...pairs.map(([a, b]) => { const [one, other] = this.pair(a, b); return Math.abs(one[unit] - other[unit]); }));
    const found = common.map((unit) => [unit, gap(unit)]).filter(([, size]) => size > APART).sort((a, b) => b[1] - a[1]).slice(0, 5);
    const names = found.flatMap(([unit], i) => [...(i ? [", "] : []), make("strong", "", isolated(this.panels[0].data.elements[unit], 40))]);
    return make("p", "hint", ...(names.length ? ["They disagree on: ", ...names] : ["They agree on every " + this.panels[0].data.element + "."]));
  }

  order() {
    const size = (unit) => this.sorted < 0 ? this.weights.reduce((sum, weights) => sum + Math.abs(weights[unit] || 0), 0) : Math.abs(this.weights[this.sorted][unit] || 0);
    return this.sorted === -2 ? this.units : [...this.units].sort((a, b) => size(b) - size(a) || a - b);
  }

  table() {
    const { element } = this.panels[0].data;
    const head = (name, at) => {
      const button = pressed(make("button", "sort", name), () => { this.sorted = this.sorted === at ? -1 : at; this.show(); });
      const on = this.sorted === at;
      if (at >= 0) button.title = `Sort by ${name}`;
      return attributed(make("th", on ? "on" : "", button), { scope: "col", "aria-sort": on ? (at === -2 ? "ascending" : "descending") : "none" });
    };
    const order = this.order(), shown = this.all ? order : order.slice(0, LISTED);
    const lines = shown.map((unit) => make("tr", "", this.unit(unit), ...this.panels.map((panel, a) => this.cell(panel, a, unit))));
    const more = order.length > LISTED ? [onOff(`All ${order.length} ${plural(element)}`, this.all, (on) => { this.all = on; this.show(); })] : [];
    const table = make("table", "compare", make("thead", "", make("tr", "", head(element, -2), ...this.panels.map((_, a) => head(this.name(a), a)))), make("tbody", "", ...lines));
    return make("div", "", reachable(make("div", "scroll wide", table), "Values by method"), ...more);
  }

  unit(unit) {
    const name = pressed(make("button", "name", isolated(this.panels[0].data.elements[unit].replace(/\s+/g, " "), 40)), () => this.panels[0].passage.reveal(unit));
    return attributed(make("th", "", name), { scope: "row" });
  }

  cell({ row, data }, a, unit) {
    const weight = this.weights[a][unit], zero = data.signed ? 50 : 0, reach = 100 - zero;
    const track = make("span", data.signed ? "track" : "track rising", ...(Number.isNaN(row.values[unit]) ? [] : [fill((value) => zero + reach * value, 0, weight, weight)]));
    const node = make("td", "", make("div", "", track, make("span", "amount", format(row.values[unit], data.signed))));
    node.title = `${this.name(a)}: ${row.quantity(unit)} ${data.unit}`;
    return node;
  }
}

// Spearman's rank correlation; equal values share their mean rank; null where one side is constant.
function spearman(x, y) {
  const [a, b] = [ranks(x), ranks(y)], mean = (x.length - 1) / 2;
  let top = 0, left = 0, right = 0;
  a.forEach((rank, i) => {
    top += (rank - mean) * (b[i] - mean);
    left += (rank - mean) ** 2;
    right += (b[i] - mean) ** 2;
  });
  return left && right ? top / Math.sqrt(left * right) : null;
}

function ranks(values) {
  const order = values.map((_, i) => i).sort((i, j) => values[i] - values[j]), found = new Array(values.length);
  for (let from = 0; from < order.length;) {
    let to = from;
    while (to + 1 < order.length && values[order[to + 1]] === values[order[from]]) to += 1;
    for (let i = from; i <= to; i += 1) found[order[i]] = (from + to) / 2;
    from = to + 1;
  }
  return found;
}
