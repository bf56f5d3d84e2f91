const MANY = 60; // units from which an image may need another scale of colors
const HALF = 0.5; // of the largest size: units from which on the contour surrounds them

function bytes(text) {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}

function drawn(name, attributes) {
  return attributed(document.createElementNS("http://www.w3.org/2000/svg", name), attributes);
}

// The image as the model read it, in the place that a text has; a shape over each unit.
class Passage {
  constructor(panel) {
    Object.assign(this, { panel, data: panel.data, stops: [], frozen: false });
    const { width, height, rgb, regions } = this.data.picture;
    this.regions = Array.from(new Uint16Array(bytes(regions).buffer));
    this.shapes = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `${this.data.picture.name || "The image"} as the model read it; arrow keys move between its ${this.data.element}s` });
    const said = this.data.said.map((part) => this.part(...part)), words = said.filter((node) => node.dataset.unit);
    this.data.elements.slice(0, this.data.elements.length - words.length).forEach((_, unit) => this.stops.push(this.shape(unit, width)));
    this.stops.push(...words);
    this.shapes.append(drawn("path", { class: "edges", d: this.edges((a, b) => a !== b), "aria-hidden": "true" }));
    this.contour = drawn("path", { class: "contour", "aria-hidden": "true" });
    this.shapes.append(this.contour);
    this.frame = make("div", "picture", this.image(width, height, bytes(rgb)), this.shapes);
    this.frame.style.aspectRatio = `${width} / ${height}`;
    this.element = make("div", "seeing", this.frame, this.controls());
    if (said.length) this.frame.after(attributed(make("div", "passage", ...said), { dir: "auto", role: "group", "aria-label": "The text that goes with the image" }));
    this.listen();
  }

  // A part of the text that goes with the image.
  part(content, unit) {
    const node = make("span", unit === null ? "" : "unit", visible(content));
    return unit === null ? node : attributed(node, { role: "img", tabindex: -1, "data-unit": unit });
  }

  image(width, height, rgb) {
    const canvas = attributed(make("canvas"), { width, height, "aria-hidden": "true" }), context = canvas.getContext("2d");
    if (!context) return canvas;
    const pixels = context.createImageData(width, height);
    for (let i = 0; i < width * height; i++) pixels.data.set([rgb[3 * i], rgb[3 * i + 1], rgb[3 * i + 2], 255], 4 * i);
    context.putImageData(pixels, 0, 0);
    return canvas;
  }

  // A unit's pixels, row by row.
  shape(unit, width) {
    let path = "", start = -1;
    for (let i = 0; i <= this.regions.length; i++) {
      const inside = i < this.regions.length && this.regions[i] === unit, fresh = i % width === 0;
      if (start >= 0 && (!inside || fresh)) {
        path += `M${start % width} ${Math.floor(start / width)}h${i - start}v1h${start - i}z`;
        start = -1;
      }
      if (inside && start < 0) start = i;
    }
    const node = drawn("path", { class: "cell", d: path, role: "img", tabindex: unit ? -1 : 0, "data-unit": unit });
    this.shapes.append(node);
    return node;
  }

  // Lines between neighboring pixels whose units are apart.
  edges(apart) {
    const { width, height } = this.data.picture;
    let path = "";
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const own = this.regions[y * width + x];
        if (x && apart(this.regions[y * width + x - 1], own)) path += `M${x} ${y}v1`;
        if (y && apart(this.regions[(y - 1) * width + x], own)) path += `M${x} ${y}h1`;
      }
    }
    return path;
  }

  controls() {
    const slider = attributed(make("input"), { type: "range", min: 0, max: 100, value: 75, "aria-label": "Opacity of the colors" });
    slider.addEventListener("input", () => this.frame.style.setProperty("--opacity", slider.value / 100));
    const outlined = this.data.elements.length <= 100;
    this.frame.classList.toggle("outlined", outlined);
    const edges = onOff("Outlines", outlined, (on) => this.frame.classList.toggle("outlined", on));
    const contour = onOff("Contour", false, (on) => this.frame.classList.toggle("contoured", on));
    contour.title = "A line around units of at least half the largest size";
    return make("div", "tools", make("label", "choice", make("span", "", "Opacity"), slider), edges, contour);
  }

  listen() {
    for (const part of [this.shapes, this.element.querySelector(".passage")].filter(Boolean)) {
      part.addEventListener("keydown", (event) => this.press(event));
      for (const kind of ["mouseover", "focusin"]) part.addEventListener(kind, (event) => this.point(event.target));
      for (const kind of ["mouseout", "focusout"]) part.addEventListener(kind, () => this.point(this.shapes));
    }
  }

  show(row, _target, full) {
    this.stops.forEach((node, unit) => {
      row.paint(node, row.values[unit], full);
      node.setAttribute("aria-label", `${visible(this.data.elements[unit])}: ${row.quantity(unit)}`);
    });
    const sizes = row.values.map((value) => Math.abs(value ?? 0)), least = HALF * Math.max(...sizes);
    const strong = (unit) => least > 0 && sizes[unit] >= least;
    this.contour.setAttribute("d", this.edges((a, b) => strong(a) !== strong(b)));
  }

  point(node) {
    const at = node.closest("[data-unit]"), unit = at ? Number(at.dataset.unit) : null;
    this.panel.card.link(unit, this.panel);
    if (!at) return hideTooltip();
    const lines = [make("strong", "", isolated(this.data.elements[unit], 80)), ...this.panel.saying(unit)];
    showTooltip(at, lines.concat(this.panel.card.others(this.panel).map((panel) => panel.brief(unit))));
  }

  mark(unit) {
    this.stops.forEach((node, own) => node.classList.toggle("linked", own === unit));
  }

  press(event) {
    const here = Number(event.target.dataset.unit), down = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const there = down && this.regions.includes(here) ? this.beyond(here, down) : step(event.key, here, this.stops.length);
    if (there === undefined) return;
    this.reveal(there);
    event.preventDefault();
  }

  // The unit above or below a unit's middle.
  beyond(unit, down) {
    const { width, height } = this.data.picture;
    const own = this.regions.map((region, at) => [region, at]).filter(([region]) => region === unit).map(([, at]) => at);
    const mean = (numbers) => Math.floor(numbers.reduce((sum, number) => sum + number, 0) / numbers.length);
    const x = mean(own.map((at) => at % width));
    for (let y = mean(own.map((at) => Math.floor(at / width))); y >= 0 && y < height; y += down) {
      const there = this.regions[y * width + x];
      if (there !== unit && there < this.stops.length) return there;
    }
    return undefined;
  }

  reveal(unit) {
    for (const node of this.stops) node.setAttribute("tabindex", -1);
    this.stops[unit].setAttribute("tabindex", 0);
    this.stops[unit].focus({ preventScroll: true });
    this.frame.scrollIntoView({ block: "nearest" });
  }
}
