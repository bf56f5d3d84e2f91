const element = document.currentScript.parentElement;
const data = JSON.parse(element.querySelector('script[type="application/json"]').textContent);
const SVG = "http://www.w3.org/2000/svg";
const FAINTEST = 0.02, STEP = 22, LEFT = 130, RIGHT = 330, WIDTH = 460;

function drawn(tag, attributes, ...children) {
  const node = attributed(document.createElementNS(SVG, tag), attributes);
  node.append(...children);
  return node;
}

function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}

function lines(layer, head, only) {
  const weights = unpacked(layer.weights[head]), k = layer.keys.length, q = layer.queries.length;
  const height = Math.max(q, k) * STEP + 10, y = (i) => 16 + i * STEP;
  const picture = drawn("svg", { class: "lines", viewBox: `0 0 ${WIDTH} ${height}`, width: WIDTH, height, role: "group",
    "aria-label": `${layer.name}, head ${head + 1}: lines from tokens to those they attend to` });
  for (let i = 0; i < q; i++) for (let j = 0; j < k; j++) {
    const weight = weights[i * k + j];
    if (weight < FAINTEST || (only !== null && only !== i)) continue;
    const path = `M${LEFT + 8},${y(i) - 4} C${LEFT + 90},${y(i) - 4} ${RIGHT - 90},${y(j) - 4} ${RIGHT - 8},${y(j) - 4}`;
    picture.append(drawn("path", { d: path, "stroke-opacity": weight.toFixed(3) }));
  }
  layer.queries.forEach((token, i) => {
    let best = 0;
    for (let j = 1; j < k; j++) if (weights[i * k + j] > weights[i * k + best]) best = j;
    const said = `${visible(token)} attends most to ${visible(layer.keys[best])}, ${format(weights[i * k + best])}`;
    const group = drawn("g", { tabindex: 0, role: "button", "aria-pressed": only === i, "aria-label": said },
      drawn("title", {}, said), drawn("text", { x: LEFT, y: y(i), "text-anchor": "end" }, shortened(token, 16)));
    const choose = () => show(only === i ? null : i, i);
    group.addEventListener("click", choose);
    group.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(); }
    });
    picture.append(group);
  });
  layer.keys.forEach((token, j) => picture.append(drawn("text", { x: RIGHT, y: y(j) }, shortened(token, 16))));
  return picture;
}

let chosen = [0, 0];
const place = make("div"), heading = attributed(make("h2"), { "aria-live": "polite" });
const buttons = new Map();

function show(only = null, focused = null) {
  const [l, h] = chosen, layer = data.layers[l];
  heading.textContent = `${layer.name}, head ${h + 1}`;
  place.replaceChildren(lines(layer, h, only));
  for (const [key, button] of buttons) button.setAttribute("aria-pressed", key === `${l} ${h}`);
  if (focused !== null) place.querySelectorAll("g[tabindex]")[focused].focus();
}

function heads() {
  const table = make("table", "heads");
  table.append(make("caption", "spoken", "Largest weight of each head, mean over tokens"));
  const count = Math.max(...data.layers.map((layer) => layer.focus.length));
  const top = make("tr", "", make("td"));
  for (let h = 0; h < count; h++) top.append(attributed(make("th", "", String(h + 1)), { scope: "col", "aria-label": `head ${h + 1}` }));
  table.append(top);
  data.layers.forEach((layer, l) => {
    const row = make("tr", "", attributed(make("th", "", layer.name), { scope: "row" }));
    layer.focus.forEach((value, h) => {
      const button = attributed(make("button", "", value.toFixed(2)), { type: "button", "aria-label": `${layer.name}, head ${h + 1}, ${value.toFixed(2)}` });
      button.style.background = `color-mix(in srgb, var(--for) ${Math.round(100 * value)}%, var(--paper))`;
      button.addEventListener("click", () => { chosen = [l, h]; show(); });
      buttons.set(`${l} ${h}`, button);
      row.append(make("td", "", button));
    });
    table.append(row);
  });
  return table;
}

function bars() {
  const largest = Math.max(...data.values.map((value) => Math.abs(value ?? 0))) || 1;
  const table = make("table", "bars");
  data.units.forEach((unit, i) => {
    const value = data.values[i], bar = make("i", value < 0 ? "against" : "");
    bar.style.width = `${(100 * Math.abs(value ?? 0)) / largest}%`;
    table.append(make("tr", "", attributed(make("th", "", isolated(unit, 24)), { scope: "row" }), make("td", "", format(value)), make("td", "", bar)));
  });
  return make("section", "", make("h2", "", `${data.method} \u00b7 ${shortened(data.target, 40)}`), table);
}

const fixed = element.querySelector(".static");
if (fixed) fixed.remove();
const note = make("p", "", "Each cell is a head: the largest weight, averaged over tokens. Choose a head to see its lines, and a token to see its own.");
element.append(note, heads(), make("div", "sides", make("section", "", heading, place), bars()));
show();
