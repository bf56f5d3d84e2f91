// The explanations of many texts. What all of them have in common is stored once; cards are built when they are opened.
class Deck {
  constructor({ shared, groups }) {
    Object.assign(this, { shared, groups, rows: new Map() });
  }

  group(at) {
    return this.groups[at].map((own) => ({ ...this.shared, ...own }));
  }

  card(at) {
    return new Card(this.group(at), at).element;
  }

  // The values of one target of a text.
  row(at, target, member = 0) {
    const key = `${at}/${member}/${target}`;
    if (!this.rows.has(key)) this.rows.set(key, new Row(this.group(at)[member], target));
    return this.rows.get(key);
  }

  text(at) {
    return this.groups[at][0].segments.map(([content, , named]) => (named ? "" : content)).join("");
  }

  // A text with its colors and without controls; `marked` units are outlined.
  passage(at, target, marked = [], member = 0) {
    const row = this.row(at, target, member);
    const parts = row.data.segments.map(([content, unit, named]) => {
      if (unit === null) return make("span", "", visible(content));
      const node = make(marked.includes(unit) ? "mark" : "span", named ? "unit named" : "unit", visible(content));
      row.paint(node, row.values[unit]);
      return node;
    });
    return attributed(make("span", "preview", ...parts), { dir: "auto" });
  }
}

function drawn(tag, attributes = {}, ...children) {
  const node = attributed(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes);
  node.append(...children);
  return node;
}

function button(name, press, ...children) {
  const node = attributed(make("button", name, ...children), { type: "button" });
  node.addEventListener("click", press);
  return node;
}

// A group of buttons of which one is pressed.
function choice(label, options, pressed, choose) {
  const group = attributed(make("div", "targets"), { role: "group", "aria-label": label });
  const press = (value) => nodes.forEach((node, i) => node.setAttribute("aria-pressed", String(options[i][0] === value)));
  const nodes = options.map(([value, name, more = ""]) =>
    button("target", () => { press(value); choose(value); }, make("span", "label", isolated(name, 40)), make("span", "score", more)));
  group.append(...nodes);
  press(pressed);
  group.press = press;
  return group;
}

function selection(label, options, change) {
  const list = make("select", "", ...options.map(([value, name]) => attributed(make("option", "", shortened(name, 40)), { value })));
  list.addEventListener("change", () => change(list.value));
  return make("label", "control", make("span", "", label), list);
}

function searchBox(label, change) {
  const input = attributed(make("input"), { type: "search", autocomplete: "off", spellcheck: "false" });
  input.addEventListener("input", () => change(input.value));
  return make("label", "control", make("span", "", label), input);
}

// Let a row of a table open a row below it, which is filled when it is first opened.
function expands(toggle, row, columns, fill) {
  let below = null;
  toggle.setAttribute("aria-expanded", "false");
  toggle.addEventListener("click", () => {
    const open = toggle.getAttribute("aria-expanded") !== "true";
    if (below === null) {
      const cell = attributed(make("td"), { colspan: columns });
      fill(cell);
      below = make("tr", "below", cell);
    }
    if (open) row.after(below);
    else below.remove();
    row.classList.toggle("open", open);
    toggle.setAttribute("aria-expanded", String(open));
  });
}

function thousands(count) {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ",");
}

function counted(count, noun) {
  return `${thousands(count)} ${noun}${count === 1 ? "" : "s"}`;
}
