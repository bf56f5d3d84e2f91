// Pictures and tables of what is seen, made in the page itself.

// Buttons that save an element as a picture, and lines as a table.
function saving(element, name, lines) {
  const formats = { PNG: () => toPNG(drawnOf(element)), SVG: () => toSVG(drawnOf(element)), CSV: () => toCSV(lines()) };
  const buttons = Object.entries(formats).map(([format, write]) => {
    const button = pressed(make("button", "", format), async () => save(await write(), `${name}.${format.toLowerCase()}`));
    return attributed(button, { "aria-label": `Save as ${format}` });
  });
  return make("div", "saving", make("span", "", "Save as"), ...buttons);
}

function save(blob, name) {
  const link = attributed(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function toCSV(lines) {
  const quoted = (cell) => (/[",\r\n]/.test(String(cell)) ? `"${String(cell).replace(/"/g, '""')}"` : String(cell));
  return new Blob([lines.map((cells) => cells.map(quoted).join(",")).join("\r\n")], { type: "text/csv" });
}

// Boxes and texts of an element as they are laid out: [kind, x, y, width, height, color, more].
function drawnOf(element) {
  const frame = element.getBoundingClientRect(), found = { width: Math.ceil(frame.width), height: Math.ceil(frame.height), boxes: [], texts: [] };
  found.ground = getComputedStyle(element).backgroundColor;
  const walk = (node) => {
    if (node.nodeType === Node.TEXT_NODE) return addText(found, node, frame);
    if (node.nodeType !== Node.ELEMENT_NODE || node.matches(".saving, .spoken, .tools, .hint:empty") || !node.getClientRects().length) return;
    addBoxes(found, node, frame);
    for (const child of node.childNodes) walk(child);
  };
  for (const child of element.childNodes) walk(child);
  return found;
}

function addBoxes(found, node, frame) {
  const style = getComputedStyle(node), fill = style.backgroundColor, radius = parseFloat(style.borderTopLeftRadius) || 0;
  const boxes = [...node.getClientRects()].filter((box) => box.width && box.height);
  for (const box of boxes) {
    const [x, y] = [box.left - frame.left, box.top - frame.top];
    if (opaque(fill)) found.boxes.push([x, y, box.width, box.height, Math.min(radius, box.height / 2), fill, Number(style.opacity)]);
    for (const [side, at] of [["Left", [x, y, 0, box.height]], ["Bottom", [x, y + box.height, box.width, 0]], ["Top", [x, y, box.width, 0]]]) {
      const size = style[`border${side}Style`] === "none" ? 0 : parseFloat(style[`border${side}Width`]);
      const ink = style[`border${side}Color`];
      if (size && opaque(ink)) found.boxes.push([at[0], at[1] - (side === "Bottom" ? size : 0), at[2] || size, at[3] || size, 0, ink, 1]);
    }
  }
  if (style.backgroundImage !== "none") ramp(found, node, frame);
}

// The legend's ramp as steps of color.
function ramp(found, node, frame) {
  const box = node.getBoundingClientRect(), probe = make("span", "unit"), count = 24, rising = node.classList.contains("rising");
  if (!node.classList.contains("ramp")) return;
  node.append(probe);
  for (let i = 0; i < count; i += 1) {
    const weight = rising ? (i + 0.5) / count : (2 * (i + 0.5)) / count - 1;
    probe.className = weight < 0 ? "unit against" : "unit";
    probe.style.setProperty("--weight", `${100 * Math.abs(weight)}%`);
    found.boxes.push([box.left - frame.left + (i * box.width) / count, box.top - frame.top, box.width / count + 0.5, box.height, 0, getComputedStyle(probe).backgroundColor, 1]);
  }
  probe.remove();
}

// A text, line by line.
function addText(found, node, frame) {
  if (!node.data.trim()) return;
  const style = getComputedStyle(node.parentElement), range = document.createRange();
  const font = { family: style.fontFamily, size: style.fontSize, weight: style.fontWeight, color: style.color, opacity: Number(style.opacity), rtl: style.direction === "rtl" };
  const against = node.parentElement.matches(".unit.against:not(.faint)");
  let from = 0;
  const ends = [...node.data.matchAll(/\s+|$/g)].map((match) => match.index);
  for (let i = 0; i < ends.length; i += 1) {
    range.setStart(node, from);
    range.setEnd(node, i + 1 < ends.length ? ends[i + 1] : node.data.length);
    if (i + 1 < ends.length && range.getClientRects().length < 2) continue;
    range.setEnd(node, i + 1 < ends.length ? ends[i] : node.data.length);
    for (const box of linesOf(range)) {
      const [x, y] = [box.left - frame.left, box.top - frame.top];
      const text = visible(range.toString().replace(/\s+/g, " ").trim());
      if (text && box.width) found.texts.push({ text, x, y, width: box.width, height: box.height, ...font, against });
    }
    from = ends[i];
  }
}

function linesOf(range) {
  const boxes = [...range.getClientRects()].filter((box) => box.width);
  return boxes.slice(0, 1);
}

const opaque = (color) => color !== "transparent" && !/[,/] ?0\)$/.test(color);

// Any color of CSS as one that every program reads.
const palette = new Map();
function plain(color) {
  if (!palette.has(color)) {
    const canvas = attributed(document.createElement("canvas"), { width: 1, height: 1 }), pen = canvas.getContext("2d", { willReadFrequently: true });
    pen.fillStyle = color;
    pen.fillRect(0, 0, 1, 1);
    const [red, green, blue] = pen.getImageData(0, 0, 1, 1).data;
    palette.set(color, `rgb(${red},${green},${blue})`);
  }
  return palette.get(color);
}

const baseline = ({ y, height, size }) => y + height / 2 + 0.35 * parseFloat(size);

function toSVG(drawn) {
  const escape = (text) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`), n = (value) => String(Math.round(100 * value) / 100);
  const boxes = drawn.boxes.map(([x, y, width, height, r, color, opacity]) => `<rect x="${n(x)}" y="${n(y)}" width="${n(width)}" height="${n(height)}" rx="${n(r)}" fill="${plain(color)}" opacity="${opacity}"/>`);
  const texts = drawn.texts.map((one) => {
    const dots = one.against ? `<path d="M${n(one.x)} ${n(baseline(one) + 4)}h${n(one.width)}" stroke="${plain(one.color)}" stroke-dasharray="1.5 2"/>` : "";
    const side = one.rtl ? `direction="rtl" x="${n(one.x + one.width)}"` : `x="${n(one.x)}"`;
    return `<text ${side} y="${n(baseline(one))}" font-family="${escape(one.family)}" font-size="${one.size}" font-weight="${one.weight}" fill="${plain(one.color)}" opacity="${one.opacity}">${escape(one.text)}</text>${dots}`;
  });
  const frame = `width="${drawn.width}" height="${drawn.height}" viewBox="0 0 ${drawn.width} ${drawn.height}"`;
  const ground = `<rect width="100%" height="100%" fill="${plain(drawn.ground)}"/>`;
  return new Blob([`<svg xmlns="http://www.w3.org/2000/svg" ${frame}>${ground}${boxes.join("")}${texts.join("")}</svg>`], { type: "image/svg+xml" });
}

function toPNG(drawn) {
  const scale = Math.min(2, 16000 / Math.max(drawn.width, drawn.height));
  const canvas = attributed(document.createElement("canvas"), { width: Math.ceil(scale * drawn.width), height: Math.ceil(scale * drawn.height) });
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  pen.fillStyle = drawn.ground;
  pen.fillRect(0, 0, drawn.width, drawn.height);
  for (const [x, y, width, height, r, color, opacity] of drawn.boxes) {
    Object.assign(pen, { fillStyle: color, globalAlpha: opacity });
    pen.beginPath();
    pen.roundRect(x, y, width, height, r);
    pen.fill();
  }
  for (const one of drawn.texts) {
    Object.assign(pen, { fillStyle: one.color, strokeStyle: one.color, globalAlpha: one.opacity, font: `${one.weight} ${one.size} ${one.family}`, direction: one.rtl ? "rtl" : "ltr", textAlign: one.rtl ? "right" : "left" });
    pen.fillText(one.text, one.rtl ? one.x + one.width : one.x, baseline(one));
    if (!one.against) continue;
    pen.setLineDash([1.5, 2]);
    pen.beginPath();
    pen.moveTo(one.x, baseline(one) + 4);
    pen.lineTo(one.x + one.width, baseline(one) + 4);
    pen.stroke();
  }
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}
