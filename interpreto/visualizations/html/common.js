// Text enters the page through text nodes and attributes alone: data can never become an element.
function make(tag, name, ...children) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  node.append(...children);
  return node;
}

function attributed(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

// Replace control characters by their pictures, so that none can hide or reorder its neighbors.
function visible(text) {
  return text
    .replace(/\r\n/g, "\n")
    .replace(/[\x00-\x08\x0b-\x1f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0)))
    .replace(/\x7f/g, "\u2421")
    .replace(/[\x80-\x9f\u202a-\u202e\u2066-\u2069]/g, (c) => `\u27e8U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}\u27e9`);
}

function shortened(text, length) {
  const characters = Array.from(text.replace(/\s+/g, " "));
  return visible(characters.length > length ? characters.slice(0, length - 1).join("") + "\u2026" : characters.join(""));
}

function isolated(text, length = 1e9) {
  return make("bdi", "", shortened(text, length));
}

function format(value, sign = false) {
  if (value === null || Number.isNaN(value)) return "n/a";
  const mark = value < 0 ? "\u2212" : sign && value > 0 ? "+" : "";
  if (!Number.isFinite(value)) return mark + "\u221e";
  const size = Math.abs(Number(value.toPrecision(3)));
  if (size === 0) return "0";
  if (size >= 1000 && size < 1e6) return mark + Math.abs(value).toFixed(0);
  if (size >= 1e-3 && size < 1000) return mark + size.toPrecision(3);
  return mark + size.toExponential(2).replace("e+", "e").replace("e-", "e\u2212");
}

function asPercent(part) {
  if (part === null) return "n/a";
  return `${(100 * part).toFixed(part < 0.0995 ? 1 : 0)} %`;
}

// Make a button do something.
function pressed(button, act) {
  button.addEventListener("click", act);
  return attributed(button, { type: "button" });
}

// "words" of "word", "patches" of "patch".
function plural(name) {
  return `${name}${/(ch|sh|s|x)$/.test(name) ? "es" : "s"}`;
}

// A button that is on or off.
function onOff(name, on, act) {
  const button = pressed(make("button", "toggle", name), () => {
    const next = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(next));
    act(next);
  });
  return attributed(button, { "aria-pressed": String(on) });
}

// Buttons of which one is on.
function oneOf(name, options, on, act) {
  const buttons = options.map((option, at) => pressed(make("button", "toggle", option), () => {
    buttons.forEach((button, own) => button.setAttribute("aria-pressed", String(own === at)));
    act(at);
  }));
  buttons.forEach((button, at) => button.setAttribute("aria-pressed", String(at === on)));
  return attributed(make("div", "choice", make("span", "", name), ...buttons), { role: "group", "aria-label": name });
}

// A place that scrolls can be scrolled by keys.
function reachable(node, name) {
  return attributed(node, { tabindex: 0, role: "group", "aria-label": name });
}

// Neighbors with the same key, together.
function stretches(items, keyOf) {
  const found = [];
  for (const item of items) {
    const key = keyOf(item), last = found[found.length - 1];
    if (last && last.key === key) last.items.push(item);
    else found.push({ key, items: [item] });
  }
  return found;
}

// Decode a row of little-endian float32 from base64.
function decoded(text) {
  const view = new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  return Array.from({ length: view.byteLength / 4 }, (_, i) => view.getFloat32(4 * i, true));
}

function stretch(name, from, to) {
  const node = make("span", name);
  node.style.insetInlineStart = `${Math.min(from, to)}%`;
  node.style.inlineSize = `${Math.abs(to - from)}%`;
  return node;
}

const tooltip = attributed(make("div", "tooltip"), { role: "tooltip" });
const hideTooltip = () => { tooltip.hidden = true; };
hideTooltip();

function showTooltip(node, lines) {
  tooltip.replaceChildren(...lines);
  tooltip.hidden = false;
  const box = node.getClientRects()[0] || node.getBoundingClientRect();
  const size = tooltip.getBoundingClientRect();
  const left = Math.min(box.left + box.width / 2 - size.width / 2, document.documentElement.clientWidth - size.width - 8);
  const above = box.top - size.height - 8;
  tooltip.style.left = `${Math.max(8, left)}px`;
  tooltip.style.top = `${above < 8 ? box.bottom + 8 : above}px`;
}

// Return the place that an arrow key leads to; undefined where there is none.
function step(key, here, count) {
  const there = { ArrowRight: here + 1, ArrowDown: here + 1, ArrowLeft: here - 1, ArrowUp: here - 1, Home: 0, End: count - 1 }[key];
  return there >= 0 && there < count ? there : undefined;
}
