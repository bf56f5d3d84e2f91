const current = document.currentScript;
const root = current ? current.parentElement : document.querySelector(".interpreto.patches:not([data-drawn])");
if (!root || root.dataset.drawn) return;
root.dataset.drawn = "yes";
root.querySelector(".static")?.remove();
root.classList.add("concepts", "dashboard", "patches");

const data = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
const { concepts, images, margin } = data;
const places = new Map(concepts.map(({ id }, k) => [id, k]));
const alone = root.closest(".interpreto-page") !== null;
const ORDERS = { number: ["number", (k) => concepts[k].id], peak: ["largest activation", (k) => -concepts[k].peak] };

function bytes(text) {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}

function drawn(name, attributes) {
  return attributed(document.createElementNS("http://www.w3.org/2000/svg", name), attributes);
}

// Each image's pixels and units are read when it is first shown.
function read(image) {
  if (!image.pixels) {
    image.pixels = bytes(image.rgb);
    image.unitOf = Array.from(new Uint16Array(bytes(image.regions).buffer));
  }
  return image;
}

function canvasOf(image, [top, left, bottom, right]) {
  const { width, height, pixels } = read(image);
  const box = [Math.max(0, top - margin), Math.max(0, left - margin), Math.min(height, bottom + margin), Math.min(width, right + margin)];
  return painted(box[3] - box[1], box[2] - box[0], (x, y) => 3 * ((y + box[0]) * width + x + box[1]), pixels);
}

function painted(width, height, at, pixels) {
  const canvas = attributed(make("canvas"), { width, height, "aria-hidden": "true" }), context = canvas.getContext("2d");
  if (!context) return canvas;
  const found = context.createImageData(width, height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const from = at(x, y);
      found.data.set([pixels[from], pixels[from + 1], pixels[from + 2], 255], 4 * (y * width + x));
    }
  }
  context.putImageData(found, 0, 0);
  return canvas;
}

// A unit's pixels, row by row.
function pathOf(image, unit) {
  const { width, unitOf } = read(image);
  let path = "", start = -1;
  for (let i = 0; i <= unitOf.length; i++) {
    const inside = i < unitOf.length && unitOf[i] === unit, fresh = i % width === 0;
    if (start >= 0 && (!inside || fresh)) {
      path += `M${start % width} ${Math.floor(start / width)}h${i - start}v1h${start - i}z`;
      start = -1;
    }
    if (inside && start < 0) start = i;
  }
  return path;
}

function boxOf(image, unit) {
  const { width, unitOf } = read(image), own = unitOf.map((other, at) => [other, at]).filter(([other]) => other === unit).map(([, at]) => at);
  const xs = own.map((at) => at % width), ys = own.map((at) => Math.floor(at / width));
  return [Math.min(...ys), Math.min(...xs), Math.max(...ys) + 1, Math.max(...xs) + 1];
}

class Patches extends Chooser {
  ask() {
    this.asked = this.kept((k) => `${concepts[k].id} ${concepts[k].name}`.toLowerCase());
    this.links = new Map();
    this.list.replaceChildren(...this.asked.map((k) => {
      const { id, name, peak, patches } = concepts[k], crop = patches.length ? canvasOf(images[patches[0][0]], patches[0][3]) : make("span");
      const link = attributed(make("a", "", crop, make("span", "name", isolated(name, 60)), make("span", "amount", format(peak))), { href: `#c${id}` });
      this.links.set(k, link);
      return make("li", "", link);
    }));
    this.mark();
  }

  choose(k, quietly = false) {
    if (!concepts[k] || k === this.k) return;
    this.k = k;
    hideTooltip();
    this.mark();
    const { id, name, peak, patches } = concepts[k];
    this.buttons = patches.map(([at, unit, value, box]) => {
      const button = pressed(make("button", "", canvasOf(images[at], box), make("span", "", format(value))), () => this.show(at, unit));
      button.place = `${at} ${unit}`;
      return attributed(button, { "aria-label": `${visible(images[at].units[unit])} of ${visible(images[at].title)}, activation ${format(value)}: show the image`, "aria-pressed": "false" });
    });
    this.thumbs = images.map((image, at) => pressed(make("button", "toggle", isolated(image.title, 30)), () => this.show(at, null)));
    this.map = make("div");
    const crops = patches.length ? make("ul", "crops", ...this.buttons.map((button) => make("li", "", button))) : make("p", "hint", "Above 0 in no patch of these images.");
    const title = name === `concept ${id}` ? [`Concept ${id}`] : [`Concept ${id}: `, isolated(name)];
    this.detail.replaceChildren(
      make("h2", "", ...title), make("p", "hint", `Largest activation ${format(peak)}.`),
      make("h3", "", "Top patches"), crops,
      make("h3", "", "Where it is in an image"), attributed(make("div", "thumbs", ...this.thumbs), { role: "group", "aria-label": "Images" }), this.map);
    this.detail.setAttribute("aria-label", `Concept ${id}`);
    const [at, unit] = patches[0] ?? [0, null];
    this.show(at, unit, true);
    if (!quietly) this.status.textContent = `Concept ${id}: ${shortened(name, 60)}, largest activation ${format(peak)}`;
  }

  // The heat map of the concept over an image, with a patch outlined.
  show(at, unit, quietly = false) {
    hideTooltip();
    const image = read(images[at]), { id, maps, peak } = concepts[this.k], values = decoded(maps[at]);
    const { width, height } = image, best = values.indexOf(Math.max(...values));
    this.buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.place === `${at} ${unit}`)));
    this.thumbs.forEach((button, own) => button.setAttribute("aria-pressed", String(own === at)));
    const said = `Concept ${id} over ${shortened(image.title, 40)}: largest in ${visible(image.units[best])}, ${format(values[best])}`;
    const shapes = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `${said}; arrow keys move between its patches` });
    const cells = values.map((value, own) => {
      const weight = peak > 0 ? Math.min(1, Math.abs(value) / peak) : 0, name = `${visible(image.units[own])}: ${format(value)}`;
      const cell = drawn("path", { class: value < 0 ? "cell against" : "cell", d: pathOf(image, own), role: "img", tabindex: own === (unit ?? best) ? 0 : -1, "aria-label": name });
      cell.style.setProperty("--weight", `${(100 * weight).toFixed(1)}%`);
      for (const kind of ["mouseenter", "focus"]) cell.addEventListener(kind, () => showTooltip(cell, [make("strong", "", isolated(image.units[own], 80)), make("span", "", `activation ${format(value)}`)]));
      for (const kind of ["mouseleave", "blur"]) cell.addEventListener(kind, hideTooltip);
      cell.addEventListener("keydown", (event) => {
        const there = step(event.key, own, cells.length);
        if (there === undefined) return;
        event.preventDefault();
        cells.forEach((other, k) => other.setAttribute("tabindex", k === there ? 0 : -1));
        cells[there].focus({ preventScroll: true });
      });
      return cell;
    });
    shapes.append(...cells);
    if (unit !== null) {
      const [top, left, bottom, right] = boxOf(image, unit);
      shapes.append(drawn("rect", { class: "chosen", x: left, y: top, width: right - left, height: bottom - top, "aria-hidden": "true" }));
    }
    const frame = make("div", "picture", painted(width, height, (x, y) => 3 * (y * width + x), image.pixels), shapes);
    frame.style.aspectRatio = `${width} / ${height}`;
    frame.style.setProperty("--opacity", this.opacity / 100);
    const slider = attributed(make("input"), { type: "range", min: 0, max: 100, value: this.opacity, "aria-label": "Opacity of the colors" });
    slider.addEventListener("input", () => {
      this.opacity = slider.value;
      frame.style.setProperty("--opacity", slider.value / 100);
    });
    const ramp = make("div", "legend", make("span", "end", "0"), make("span", "ramp rising"), make("span", "end", format(peak)), make("span", "side high", `activation of concept ${id}`));
    this.map.replaceChildren(make("div", "seeing", frame, make("div", "tools", make("label", "choice", make("span", "", "Opacity"), slider)), ramp));
    if (!quietly) this.status.textContent = said;
  }
}

const patches = new Patches({ opacity: 75 });
const reading = make("details", "guide", make("summary", "", "How to read this"), make("ul", "", ...[
  "Choose a concept in the list; its crops are the patches in which it is largest.",
  "Choose a crop, or an image, to see where the concept is: the deeper the color, the larger its activation.",
  "A concept that means one thing has crops that show one thing.",
].map((text) => make("li", "", text))));
root.append(reading, patches.element, patches.status, tooltip);
document.addEventListener("keydown", (event) => event.key === "Escape" && hideTooltip());
document.addEventListener("scroll", hideTooltip, { passive: true, capture: true });
