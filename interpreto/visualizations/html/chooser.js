// A list of concepts to search and to order, next to the one that is chosen: by a link, by the address, or the first.
class Chooser {
  constructor(fields) {
    Object.assign(this, { k: -1, links: new Map(), ...fields });
    this.status = attributed(make("p", "spoken"), { "aria-live": "polite" });
    this.search = attributed(make("input"), { type: "search", autocomplete: "off", spellcheck: "false" });
    this.search.addEventListener("input", () => this.ask());
    this.order = make("select", "", ...Object.entries(ORDERS).map(([key, [name]]) => attributed(make("option", "", name), { value: key })));
    this.order.addEventListener("change", () => this.ask());
    this.found = attributed(make("p", "found"), { "aria-live": "polite" });
    this.list = make("ul");
    const nav = attributed(make("nav", "", this.list), { "aria-label": "Concepts" });
    this.detail = attributed(make("article", "card detail"), { tabindex: -1 });
    const asking = make("div", "asking", make("label", "", "Search", this.search), make("label", "", "Order", this.order));
    this.element = make("div", "split", make("div", "card finder", asking, this.found, nav), this.detail);
    root.addEventListener("click", (event) => this.follow(event));
    if (alone) window.addEventListener("hashchange", () => this.arrive());
    this.ask();
    this.arrive();
  }

  // The concepts that hold all words of the search, in the chosen order; the page says what a concept's words are.
  kept(textOf) {
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean), [, key] = ORDERS[this.order.value];
    const kept = concepts.map((_, k) => k).filter((k) => words.every((word) => textOf(k).includes(word)));
    this.found.textContent = `${kept.length} of ${concepts.length} concepts`;
    return kept.map((k) => [key(k), k]).sort(([a, i], [b, j]) => a - b || i - j).map(([, k]) => k);
  }

  mark() {
    for (const [k, link] of this.links) k === this.k ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current");
  }

  follow(event) {
    const link = event.target.closest("a[href^='#c']"), k = link && places.get(Number(link.getAttribute("href").slice(2)));
    if (k === null || k === undefined) return;
    event.preventDefault();
    this.choose(k);
    if (alone) history.replaceState(null, "", `#c${concepts[k].id}`);
    if (!link.closest("nav") || matchMedia("(max-width: 52rem)").matches) this.detail.focus();
  }

  // The concept that the address names, else the first.
  arrive() {
    const named = alone ? places.get(Number((location.hash.match(/^#c(\d+)$/) || [])[1])) : undefined;
    this.choose(named ?? this.asked[0] ?? 0, true);
    if (named !== undefined) this.links.get(named)?.scrollIntoView({ block: "nearest" });
  }
}
