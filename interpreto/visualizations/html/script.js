(() => {
  "use strict";
  const current = document.currentScript;
  const root = current ? current.parentElement : document.querySelector(".interpreto:not([data-drawn])");
  if (!root || root.dataset.drawn) return;
  root.dataset.drawn = "yes";
  const TOP = 8;

  // Text enters the page through textContent and attributes alone: data can never become an element.
  function make(tag, name, text) {
    const node = document.createElement(tag);
    if (name) node.className = name;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  function within(parent, ...children) {
    parent.append(...children);
    return parent;
  }

  function isolated(text) {
    return make("bdi", "", visible(text));
  }

  function visible(text) {
    return text
      .replace(/\r\n/g, "\n")
      .replace(/[\x00-\x08\x0b-\x1f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0)))
      .replace(/\x7f/g, "\u2421");
  }

  function clipped(text, length) {
    const characters = Array.from(text);
    return characters.length > length ? characters.slice(0, length - 1).join("") + "\u2026" : text;
  }

  function format(value, sign = false) {
    if (value === null) return "n/a";
    const size = Math.abs(Number(value.toPrecision(3)));
    if (size === 0) return "0";
    const mark = value < 0 ? "\u2212" : sign ? "+" : "";
    if (size >= 1000 && size < 1e6) return mark + Math.abs(value).toFixed(0);
    if (size >= 1e-3 && size < 1000) return mark + size.toPrecision(3);
    return mark + size.toExponential(2).replace("e+", "e").replace("e-", "e\u2212");
  }

  function percent(part) {
    return `${(100 * part).toFixed(part < 0.0995 ? 1 : 0)} %`;
  }

  // What one target says, derived once and kept.
  function reading(data, target) {
    data.readings = data.readings || [];
    if (data.readings[target]) return data.readings[target];
    const values = data.values[target];
    const sizes = values.map((value) => (value === null ? 0 : Math.abs(value)));
    const total = sizes.reduce((sum, size) => sum + size, 0);
    const order = values.map((_, unit) => unit).filter((unit) => values[unit] !== null);
    order.sort((a, b) => sizes[b] - sizes[a] || a - b);
    const errors = data.errors && data.errors[target];
    return (data.readings[target] = { values, errors, order, shares: sizes.map((size) => (total ? size / total : 0)) });
  }

  function quantity(data, read, unit) {
    if (read.values[unit] === null) return "n/a";
    const error = read.errors && read.errors[unit] !== null ? ` \u00b1 ${format(read.errors[unit])}` : "";
    return format(read.values[unit], data.signed) + error;
  }

  function paint(node, data, value) {
    const weight = value === null || !data.top ? 0 : Math.min(1, Math.max(data.signed ? -1 : 0, value / data.top));
    node.classList.toggle("against", weight < 0);
    node.classList.toggle("absent", value === null);
    node.style.setProperty("--weight", `${(100 * Math.abs(weight)).toFixed(1)}%`);
  }

  const tooltip = make("div", "tooltip");
  tooltip.setAttribute("role", "tooltip");
  tooltip.hidden = true;

  function showTooltip(node, data, target, unit) {
    const read = reading(data, target);
    tooltip.replaceChildren(within(make("strong"), isolated(clipped(data.elements[unit], 80))));
    if (read.values[unit] === null) {
      tooltip.append(make("span", "", "cannot depend on it"));
    } else {
      const rank = read.order.indexOf(unit) + 1;
      tooltip.append(make("span", "amount", `${quantity(data, read, unit)} ${data.unit}`));
      tooltip.append(make("span", "", `${percent(read.shares[unit])} of all magnitude, rank ${rank} of ${read.order.length}`));
    }
    tooltip.hidden = false;
    place(node.getClientRects()[0] || node.getBoundingClientRect());
  }

  function place(box) {
    const size = tooltip.getBoundingClientRect();
    const left = Math.min(box.left + box.width / 2 - size.width / 2, document.documentElement.clientWidth - size.width - 8);
    const above = box.top - size.height - 8;
    tooltip.style.left = `${Math.max(8, left)}px`;
    tooltip.style.top = `${above < 8 ? box.bottom + 8 : above}px`;
  }

  function hideTooltip() {
    tooltip.hidden = true;
  }

  class Card {
    constructor(data, position) {
      this.data = data;
      this.nodes = [];
      this.target = -1;
      this.whole = data.answer === undefined ? null : data.whole === undefined ? 0 : data.whole;
      this.element = make("article", "card");
      this.element.setAttribute("aria-label", `Explanation ${position + 1}: ${clipped(data.labels.join(", "), 60)}`);
      this.legend = make("div", "legend");
      this.top = make("ol", "top");
      this.ledger = make("table", "ledger");
      this.table = make("details", "all");
      const tops = within(make("section"), make("h2", "", `Largest ${data.element.replace("_", " ")}s`), this.top);
      const sums = within(make("section"), make("h2", "", data.references ? "Where the score comes from" : "Score"), this.ledger);
      within(this.element, this.switcher(), this.text(), this.legend, within(make("div", "columns"), tops, sums));
      within(this.element, this.facts(), this.values());
      this.show(this.whole === null ? 0 : this.whole);
    }

    // Of a generation: what is shown, and the way back to the whole answer. Its tokens are chosen in the text.
    chooser() {
      const group = make("div", "targets");
      const { labels } = this.data;
      this.back = make(labels.length > 1 ? "button" : "span", "target");
      if (labels.length > 1) {
        this.back.type = "button";
        this.back.addEventListener("click", () => this.show(this.whole));
      }
      this.now = make("span", "target");
      this.now.setAttribute("aria-live", "polite");
      const score = this.data.scores[this.whole];
      const name = this.data.whole === undefined ? isolated(clipped(labels[0], 60)) : "whole answer";
      within(this.back, within(make("span", "label"), name), make("span", "score", format(score)));
      this.hint = make("span", "hint", labels.length > 1 ? "choose a token of the answer to see its row" : "");
      return within(group, this.back, this.now, this.hint);
    }

    switcher() {
      this.buttons = [];
      if (this.whole !== null) return this.chooser();
      const { labels, scores } = this.data;
      const group = make("div", "targets");
      group.setAttribute("role", "group");
      group.setAttribute("aria-label", "Explained target");
      this.buttons = labels.map((label, target) => {
        const button = make(labels.length > 1 ? "button" : "span", "target");
        within(button, within(make("span", "label"), isolated(label)), make("span", "score", format(scores[target])));
        button.title = `${visible(label)}: ${format(scores[target])} ${this.data.scoreUnit}`;
        if (labels.length === 1) return button;
        button.type = "button";
        button.addEventListener("click", () => this.show(target));
        return button;
      });
      return within(group, ...this.buttons);
    }

    text() {
      const { pieces, answer } = this.data;
      const text = make("div", "text");
      text.setAttribute("role", "group");
      text.setAttribute("aria-label", "The text as the model read it; arrow keys move between its elements");
      const parts = answer === undefined ? [pieces] : [pieces.slice(0, answer), pieces.slice(answer)];
      parts.forEach((part, i) => {
        const block = make("div", i ? "answer" : "prompt");
        block.dir = "auto";
        for (const [content, unit, named, row] of part) block.append(this.piece(content, unit, named, row));
        text.append(block);
      });
      text.addEventListener("keydown", (event) => this.move(event));
      text.addEventListener("click", (event) => this.choose(event.target));
      for (const kind of ["mouseover", "focusin"]) text.addEventListener(kind, (event) => this.point(event.target));
      for (const kind of ["mouseout", "focusout"]) text.addEventListener(kind, hideTooltip);
      return text;
    }

    piece(content, unit, named, row) {
      const chosen = row !== null && this.data.labels.length > 1;
      const node = make("span", unit === null ? (chosen ? "token" : "frozen") : named ? "unit named" : "unit", visible(content));
      if (unit === null && !chosen) return node;
      node.setAttribute("role", chosen ? "button" : "img");
      node.tabIndex = this.nodes.length ? -1 : 0;
      node.dataset.at = this.nodes.length;
      if (unit !== null) node.dataset.unit = unit;
      if (chosen) node.dataset.row = row;
      if (chosen) node.classList.add("token");
      this.nodes.push({ node, unit, row: chosen ? row : null });
      return node;
    }

    choose(node) {
      const token = node.closest("[data-row]");
      if (!token) return;
      const row = Number(token.dataset.row);
      this.show(row === this.target ? this.whole : row);
    }

    point(node) {
      const unit = node.closest("[data-unit]");
      if (unit) showTooltip(unit, this.data, this.target, Number(unit.dataset.unit));
    }

    linked(unit, on) {
      for (const here of this.nodes) if (here.unit === unit) here.node.classList.toggle("linked", on);
    }

    move(event) {
      if (event.key === "Enter" || event.key === " ") {
        if (event.target.dataset.row === undefined) return;
        event.preventDefault();
        this.choose(event.target);
        return;
      }
      const here = Number(event.target.dataset.at);
      const last = this.nodes.length - 1;
      const there = { ArrowRight: here + 1, ArrowDown: here + 1, ArrowLeft: here - 1, ArrowUp: here - 1, Home: 0, End: last }[event.key];
      if (there === undefined || !this.nodes[there]) return;
      event.preventDefault();
      this.nodes[here].node.tabIndex = -1;
      this.nodes[there].node.tabIndex = 0;
      this.nodes[there].node.focus();
    }

    show(target) {
      if (target === this.target) return;
      this.target = target;
      hideTooltip();
      const read = reading(this.data, target);
      if (this.buttons.length > 1) this.buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(i === target)));
      this.data.top = this.data.scales ? this.data.scales[Number(target === this.whole)] : this.data.scale;
      for (const { node, unit, row } of this.nodes) {
        if (unit !== null) paint(node, this.data, read.values[unit]);
        const value = unit === null ? "" : `${this.data.elements[unit]}: ${quantity(this.data, read, unit)}`;
        node.setAttribute("aria-label", row === null ? value : `${value} (token ${row + 1} of the answer)`);
        if (row !== null) node.setAttribute("aria-pressed", String(row === target));
      }
      if (this.whole !== null) this.drawChooser(target);
      this.drawLegend();
      this.drawTop(read);
      this.drawLedger();
      if (this.table.open) this.drawTable();
    }

    drawChooser(target) {
      const { labels, scores } = this.data;
      const whole = target === this.whole;
      if (this.back.type === "button") this.back.setAttribute("aria-pressed", String(whole));
      this.now.hidden = whole;
      this.hint.hidden = !whole;
      const label = within(make("span", "label"), isolated(clipped(labels[target], 60)));
      this.now.replaceChildren(label, make("span", "score", format(scores[target])));
    }

    drawLegend() {
      const { signed, top: scale, unit, labels } = this.data;
      const label = () => isolated(clipped(labels[this.target], 40));
      const low = within(make("span", "end"), signed ? format(-scale) : "0");
      const high = within(make("span", "end"), `${format(scale, signed)} ${unit}`);
      const ramp = make("span", signed ? "ramp" : "ramp rising");
      if (signed) ramp.append(make("span", "zero", "0"));
      const against = within(make("span", "side"), "against ", label());
      const favour = within(make("span", "side"), signed ? "for " : "matters for ", label());
      this.legend.replaceChildren(...(signed ? [against] : []), low, ramp, high, favour);
    }

    drawTop(read) {
      this.top.replaceChildren(...read.order.slice(0, TOP).map((unit) => this.bar(read, unit)));
    }

    bar(read, unit) {
      const { data } = this;
      const value = read.values[unit];
      const error = read.errors && read.errors[unit];
      const [zero, reach] = data.signed ? [50, 50] : [0, 100];
      const at = (x) => zero + reach * Math.min(1, Math.max(data.signed ? -1 : 0, data.top ? x / data.top : 0));
      const fill = within(make("span", data.signed ? "track" : "track rising"), stretch("fill", at(0), at(value)));
      paint(fill.firstChild, data, value);
      if (error) fill.append(stretch("whisker", at(value - error), at(value + error)));
      const name = within(make("span", "name"), isolated(clipped(data.elements[unit].replace(/\s+/g, " "), 60)));
      const row = within(make("li"), name, fill, make("span", "amount", quantity(data, read, unit)));
      row.title = `${visible(data.elements[unit])}: ${quantity(data, read, unit)} ${data.unit}, ${percent(read.shares[unit])}`;
      row.addEventListener("mouseenter", () => this.linked(unit, true));
      row.addEventListener("mouseleave", () => this.linked(unit, false));
      return row;
    }

    drawLedger() {
      const { data, target } = this;
      const adds = data.addsUp[target];
      const rows = [];
      if (data.references) rows.push([`f(${data.reference})`, format(data.references[target]), ""]);
      rows.push(["sum of attributions", format(data.sums[target], data.signed), adds ? "plus" : ""]);
      if (data.residuals) rows.push(["residual", format(data.residuals[target], true), adds ? "plus" : ""]);
      rows.push(["f(x)", `${format(data.scores[target])} ${data.scoreUnit}`, adds ? "result" : ""]);
      const body = make("tbody");
      for (const [name, amount, kind] of rows) {
        const head = make("th", "", name);
        head.scope = "row";
        within(body, within(make("tr", kind), head, make("td", "", amount)));
      }
      this.ledger.replaceChildren(body);
    }

    facts() {
      const list = make("dl", "facts");
      for (const [name, value] of this.data.facts) within(list, within(make("div"), make("dt", "", name), make("dd", "", visible(value))));
      return list;
    }

    values() {
      this.table.addEventListener("toggle", () => this.table.open && this.drawTable());
      return within(this.table, make("summary", "", "All values"), make("div", "scroll"));
    }

    drawTable() {
      const { data } = this;
      const read = reading(data, this.target);
      const head = make("tr");
      for (const name of ["#", data.element.replace("_", " "), `value (${data.unit})`, "share"]) {
        const cell = make("th", "", name);
        cell.scope = "col";
        head.append(cell);
      }
      const body = make("tbody");
      data.elements.forEach((element, unit) => {
        const cells = [String(unit + 1), null, quantity(data, read, unit), percent(read.shares[unit])].map((text) => make("td", "", text || ""));
        cells[1].append(isolated(element));
        body.append(within(make("tr"), ...cells));
      });
      this.table.lastChild.replaceChildren(within(make("table", "values"), within(make("thead"), head), body));
    }
  }

  function stretch(name, from, to) {
    const node = make("span", name);
    node.style.insetInlineStart = `${Math.min(from, to)}%`;
    node.style.inlineSize = `${Math.abs(to - from)}%`;
    return node;
  }

  const explanations = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
  explanations.forEach((data, position) => root.append(new Card(data, position).element));
  root.append(tooltip);
  document.addEventListener("keydown", (event) => event.key === "Escape" && hideTooltip());
  document.addEventListener("scroll", hideTooltip, { passive: true, capture: true });
})();
