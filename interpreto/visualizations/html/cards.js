// A card for each text of the page.
const groups = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
root.classList.toggle("compares", groups.some((group) => group.length > 1));
groups.forEach((group, position) => root.append(new Card(group, position).element));
root.append(tooltip);
document.addEventListener("keydown", (event) => event.key === "Escape" && hideTooltip());
document.addEventListener("scroll", hideTooltip, { passive: true, capture: true });
