const COLUMNS = 40; // words of a heat map

// Tokens of the answer by words: a row per token, which shows its explanation when it is chosen.
function drawHeatMap(panel) {
  const { data, card } = panel, count = data.labels.slice(0, data.whole).length;
  const rows = Array.from({ length: count }, (_, row) => panel.rowOf(row));
  const units = widest(rows, panel.own || !data.prompt ? data.elements.length : data.prompt);
  const heads = units.map((unit) => attributed(make("th", "", make("span", "", isolated(data.elements[unit], 24))), { scope: "col" }));
  const corner = attributed(make("th", "corner", "token"), { scope: "col" });
  const chance = data.chances ? [attributed(make("th", "corner", "probability"), { scope: "col" })] : [];
  const lines = rows.map((row, target) => {
    const name = pressed(make("button", "name", isolated(data.labels[target].trim() || data.labels[target], 24)), () => card.show(target, panel));
    name.setAttribute("aria-pressed", String(target === panel.target));
    const cells = units.map((unit) => {
      const cell = make("td", "unit");
      row.paint(cell, row.values[unit], panel.robust ? row.robust : row.scale);
      cell.title = `${shortened(data.elements[unit], 40)} \u2192 ${shortened(data.labels[target], 40)}: ${Number.isNaN(row.values[unit]) ? "not seen" : `${row.quantity(unit)} ${data.unit}`}`;
      cell.append(make("span", "spoken", row.quantity(unit)));
      return cell;
    });
    const likely = data.chances ? [make("td", "chance", asPercent(data.chances[target]))] : [];
    return make("tr", target === panel.target ? "chosen" : "", attributed(make("th", "", name), { scope: "row" }), ...likely, ...cells);
  });
  const all = panel.own || !data.prompt ? data.elements.length : data.prompt;
  const hint = units.length < all ? [make("p", "hint", `The ${units.length} ${plural(data.element)} of ${all} with the largest values, in the order of the text.`)] : [];
  panel.heat.replaceChildren(make("table", "map", make("thead", "", make("tr", "", corner, ...chance, ...heads)), make("tbody", "", ...lines)), ...hint);
  reachable(panel.heat, `Each token of the answer by ${data.element}`);
}

// The units with the largest values in any row, in the order of the text.
function widest(rows, count) {
  const units = Array.from({ length: count }, (_, unit) => unit);
  if (count <= COLUMNS) return units;
  const size = units.map((unit) => Math.max(...rows.map(({ values }) => Math.abs(values[unit]) || 0)));
  return units.sort((a, b) => size[b] - size[a]).slice(0, COLUMNS).sort((a, b) => a - b);
}
