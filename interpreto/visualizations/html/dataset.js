// Draw the interactive parts of a page about many texts, in the places that the page has for them.
const content = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
const deck = new Deck(content.deck);
root.classList.add("dataset");
root.append(tooltip);
const KINDS = { importance: ImportanceChart, table: TextTable };
const parts = {};
for (const [name, data] of Object.entries(content.parts)) {
  parts[name] = new KINDS[data.kind](data, deck);
  const place = root.querySelector(`[data-part="${name}"]`);
  if (place) place.replaceChildren(parts[name].element);
  else root.append(parts[name].element);
}
for (const place of root.querySelectorAll("[data-passage]")) {
  place.replaceChildren(deck.passage(...place.dataset.passage.split(" ").map(Number)));
}
for (const place of root.querySelectorAll("[data-card]")) {
  const open = place.querySelector("button");
  open.hidden = false;
  open.addEventListener("click", () => {
    const shows = !place.querySelector(".card");
    if (shows) place.append(deck.card(Number(place.dataset.card)));
    else place.querySelector(".card").remove();
    open.setAttribute("aria-expanded", String(shows));
  });
}
for (const cell of root.querySelectorAll("[data-filter]")) {
  cell.disabled = false;
  cell.addEventListener("click", () => {
    parts.table.choose(JSON.parse(cell.dataset.filter));
    parts.table.element.scrollIntoView({ block: "start" });
    parts.table.controls.querySelector("select, input").focus({ preventScroll: true });
  });
}
document.addEventListener("keydown", (event) => event.key === "Escape" && hideTooltip());
document.addEventListener("scroll", hideTooltip, { passive: true, capture: true });
