// What the score rests on: a waterfall where the values add up to it, else bars. A generation begins with bars of its prompt.
function account(panel) {
  const { data, target, row } = panel;
  const units = data.prompt && !panel.own ? row.order.filter((unit) => unit < data.prompt) : row.order;
  const adds = data.addsUp[target], asked = Boolean(data.prompt);
  const views = data.sentences ? [oneOf("Roll up", [`${title(data.element)}s`, "Sentences"], Number(panel.rolled), (at) => panel.redraw({ rolled: at === 1 }))] : [];
  if (panel.rolled) return [...views, ...sentences(panel)];
  const first = adds && !asked ? waterfall(panel) : bars(panel, units);
  return [...views, ...first, ...(adds && asked ? [folded("How the score adds up", () => waterfall(panel).slice(1))] : [])];
}

function outcomeOf({ data, target }) {
  return target === data.whole ? "the answer" : data.outcome;
}

function title(word) {
  return word.charAt(0).toUpperCase() + word.slice(1);
}

// Details that are drawn when they are first opened.
function folded(name, draw) {
  const place = make("details", "all", make("summary", "", name));
  place.addEventListener("toggle", () => place.open && place.childElementCount === 1 && place.append(...draw()));
  return place;
}

function bars(panel, units) {
  const { row, data, target } = panel, reach = data.signed ? 50 : 100;
  const shown = units.slice(0, TOP), top = Math.max(...shown.map((unit) => Math.abs(row.values[unit])).filter(Number.isFinite), 0);
  const scale = data.prompt && !panel.own ? top : row.scale;
  const at = (value) => 100 - reach + reach * row.weight(value, scale);
  const list = make("ol", data.signed ? "top" : "top rising", ...shown.map((unit) => bar(panel, unit, at, 0)));
  if (!data.prompt) {
    if (data.references) list.append(line(panel.data.reference, format(data.references[target])));
    if (data.residuals) list.append(line("residual", format(data.residuals[target], true)));
    const end = line(`score of ${outcomeOf(panel)}`, `${format(data.scores[target])}${data.signed ? "" : ` ${data.scoreUnit}`}`, "", "sum end");
    if (data.signed) end.title = `f(x); the sum of all values is ${format(data.sums[target], true)}`;
    list.append(end);
  }
  const of = data.prompt && !panel.own ? " of the prompt" : "";
  const none = shown.length ? [] : [make("p", "hint", "Nothing is before this token.")];
  return [heading(panel, `Largest ${plural(data.element)}${of}, ${data.signed ? `in ${data.unit}` : "by magnitude"}`), list, ...none];
}

function heading(panel, text) {
  return make(panel.card.single ? "h3" : "h4", "", text);
}

// From the reference to the score, unit by unit.
function waterfall(panel) {
  const { row, data, target } = panel, units = row.order.slice(0, TOP), rest = row.order.length - units.length;
  const start = data.references[target], end = data.scores[target], summed = start + data.sums[target];
  let named = start;
  const outcome = outcomeOf(panel);
  const origins = units.map((unit) => (named += row.values[unit]) - row.values[unit]);
  const marks = [start, end, named, summed, ...origins];
  const low = Math.min(...marks), reach = Math.max(...marks) - low;
  const span = reach > data.noise[target] ? reach : Math.max(1, Math.abs(low)); // rounding alone gets no full bar
  const at = (value) => (100 * (value - low)) / span;
  const level = (name, value, tip) => attributed(line(name, format(value), stretch("level", at(value), at(value)), "sum end"), { title: tip });
  const part = (name, from, to, value) => line(name, format(value, true), fill(at, from, to, value));
  const steps = units.map((unit, i) => bar(panel, unit, at, origins[i]));
  const list = make("ol", "top waterfall", level(data.start, start, `f(${data.baseline})`), ...steps);
  if (rest) list.append(part(`${rest} other ${data.element}${rest > 1 ? "s" : ""}`, named, summed, summed - named));
  list.append(part("residual", summed, end, data.residuals[target]), level(outcome, end, "f(x)"));
  const head = heading(panel, `${title(data.reference)} \u2192 score of ${outcome}, in ${data.scoreUnit}`);
  head.title = `f(${data.baseline}) \u2192 f(x)`;
  return [head, list];
}

// Sums of the values of each sentence.
function sentences(panel) {
  const { row, data } = panel, last = data.elements.length;
  const found = data.sentences.map(([first, text], i) => {
    const end = i + 1 < data.sentences.length ? data.sentences[i + 1][0] : last;
    const values = Array.from(row.values.slice(first, end)).filter((value) => !Number.isNaN(value));
    return { first, end, text, value: values.reduce((sum, value) => sum + value, 0) };
  }).sort((a, b) => Math.abs(b.value) - Math.abs(a.value)).slice(0, TOP);
  const top = Math.max(...found.map(({ value }) => Math.abs(value))) || 1, reach = data.signed ? 50 : 100;
  const at = (value) => 100 - reach + (reach * value) / top;
  const list = make("ol", data.signed ? "top texts" : "top texts rising", ...found.map(({ first, text, value }) => {
    const name = pressed(make("button", "name", isolated(text, 90)), () => panel.passage.reveal(first));
    return make("li", "", name, make("span", "track", fill(at, 0, value, value)), make("span", "amount", format(value, data.signed)));
  }));
  return [heading(panel, `Largest sentences: sums of their ${plural(data.element)}, ${data.signed ? `in ${data.unit}` : "by magnitude"}`), list];
}

function fill(at, from, to, value) {
  const node = stretch("fill", at(from), at(to));
  node.classList.toggle("against", value < 0);
  return node;
}

// A unit's bar; its name leads to it in the text.
function bar(panel, unit, at, from) {
  const { row, data, card } = panel, value = row.values[unit], error = row.errors && row.errors[unit];
  const track = make("span", "track", fill(at, from, from + value, value));
  if (error) track.append(stretch("whisker", at(from + value - error), at(from + value + error)));
  const name = pressed(make("button", "name", isolated(data.elements[unit].replace(/\s+/g, " "), 60)), () => panel.passage.reveal(unit));
  const node = make("li", "", name, track, make("span", "amount", row.quantity(unit)));
  node.title = `${visible(data.elements[unit])}: ${row.quantity(unit)} ${data.unit}, ${asPercent(row.shares[unit])}`;
  node.addEventListener("mouseenter", () => card.link(unit, panel));
  node.addEventListener("mouseleave", () => card.link(null, panel));
  return node;
}

function line(name, amount, mark = "", kind = "sum") {
  return make("li", kind, make("span", "name", name), make("span", mark ? "track" : "", mark), make("span", "amount", amount));
}
