// Buttons for the targets: classes, or the whole answer; a token of the answer is chosen in the text.
class Switcher {
  constructor(data, first, show) {
    Object.assign(this, { data, first, buttons: new Map() });
    this.element = attributed(make("div", "targets"), { role: "group", "aria-label": "What is explained" });
    const tokens = data.answered && data.labels.length > 1;
    const rows = tokens ? (data.whole === undefined ? [] : [data.whole]) : data.order;
    for (const row of rows) {
      const several = data.scores.length > 1;
      const button = make(several ? "button" : "span", "target", ...this.named(row));
      button.title = `${visible(data.labels[row])}: ${format(data.scores[row])} ${data.scoreUnit}`;
      if (several) this.buttons.set(row, pressed(button, () => show(row)));
      this.element.append(button);
    }
    if (!tokens) return;
    this.now = make("span", "target now");
    this.hint = make("span", "hint", "Choose a token of the answer to see what it rests on.");
    this.element.append(this.now, this.hint);
  }

  named(row) {
    const { data } = this, label = row === data.whole ? "whole answer" : isolated(data.labels[row].trim() || data.labels[row], 60);
    const chance = data.chances && row !== data.whole ? asPercent(data.chances[row]) : null;
    const score = row === data.whole ? [] : [make("span", "score", chance || format(data.scores[row]))];
    return [make("span", "label", label), ...score];
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
    this.magnitudes = group.some((data) => data.answered && !data.signed && data.labels.length > 1);
    this.panels = group.map((data) => new Panel(data, this));
    this.element = make("article", this.single ? "card" : "card several");
    const [{ data }] = this.panels;
    const name = `Explanation ${position + 1}: ${visible(data.labels.join(", ")).slice(0, 60)}`;
    this.element.setAttribute("aria-label", name);
    this.status = attributed(make("p", "spoken"), { "aria-live": "polite" });
    const shared = this.linked(this.panels[0]).length === this.panels.length;
    this.switchers = (shared ? [this.panels[0]] : this.panels).map((panel) => {
      const { data: rows } = this.linked(panel).find((other) => other.data.whole !== undefined) || panel;
      const switcher = new Switcher(rows, this.home(panel), (row) => this.show(row, panel));
      (shared ? this.element : panel.element).prepend(switcher.element);
      return [switcher, panel];
    });
    this.element.prepend(make("h2", "spoken", name));
    if (!this.single) for (const panel of this.panels) panel.element.prepend(make("h3", "method", isolated(panel.data.facts[0][1])));
    const compared = this.compared();
    for (const panel of compared.flat()) panel.fold();
    this.comparisons = compared.map((panels) => new Comparison(panels));
    this.element.append(make("div", "panels", ...this.panels.map((panel) => panel.element)));
    this.element.append(...this.comparisons.map(({ element }) => element), this.saved(), this.status);
    for (const panel of this.panels) this.show(this.home(panel), panel, true);
  }

  // Groups of panels whose rows and units are the same: these can be read in one table.
  compared() {
    const groups = new Map();
    for (const panel of this.panels) groups.set(panel.key + panel.cut, [...(groups.get(panel.key + panel.cut) || []), panel]);
    return [...groups.values()].filter((panels) => panels.length > 1);
  }

  saved() {
    const head = ["method", "target", "position", this.panels[0].data.element, "value", "standard error"];
    return saving(this.element, "explanation", () => [head, ...this.panels.flatMap((panel) => panel.lines())]);
  }

  show(row, from, quietly = false) {
    hideTooltip();
    const linked = this.linked(from);
    for (const panel of linked) panel.show(panel.data.whole === undefined && row >= panel.data.labels.length ? panel.first : row);
    for (const [switcher, panel] of this.switchers) if (linked.includes(panel)) switcher.show(row);
    for (const comparison of this.comparisons) if (comparison.panels.every((panel) => panel.target >= 0)) comparison.show();
    const { data } = linked.find((panel) => row === panel.data.whole) || from;
    const name = row === data.whole ? "the whole answer" : visible(data.labels[row]);
    if (!quietly) this.status.textContent = `Showing ${name}: ${format(data.scores[row])} ${data.scoreUnit}`;
  }

  // The row that is shown first: the whole answer, if one of the methods has it.
  home(panel) {
    const whole = this.linked(panel).find((other) => other.data.whole !== undefined);
    return (whole || panel).first;
  }

  linked(panel) {
    return this.panels.filter((other) => other.key === panel.key);
  }

  others(from) {
    return this.linked(from).filter((panel) => panel !== from && panel.cut === from.cut);
  }

  link(unit, from) {
    for (const panel of [from, ...this.others(from)]) panel.passage.mark(unit);
  }
}
