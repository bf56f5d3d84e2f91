// A card for each text of the page.
const groups = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
root.classList.toggle("compares", groups.some((group) => group.length > 1));
root.append(guide(groups), ...groups.map((group, position) => new Card(group, position).element));
root.append(tooltip);
document.addEventListener("keydown", (event) => event.key === "Escape" && hideTooltip());
document.addEventListener("scroll", hideTooltip, { passive: true, capture: true });

// How to read what is on this page.
function guide(groups) {
  const every = groups.flat(), some = (test) => every.some(test);
  const { element } = every[0], signed = some((data) => data.signed), lines = [];
  if (signed) lines.push(`Orange ${plural(element)} raise the score of what is explained; blue ${plural(element)}, underlined with dots, lower it. The fuller the color, the larger the effect.`);
  if (some((data) => !data.signed)) lines.push(`Magnitudes have one color: how much a ${element} matters, not in which direction.`);
  if (some((data) => data.addsUp[0])) lines.push("The bars lead from the score without the words to the score with them: each begins where the one before it ends. What the values miss is the residual.");
  if (some((data) => data.errors)) lines.push("\u00b1 is the standard error of a sampled value.");
  if (some((data) => data.answered && data.labels.length > 1)) lines.push("Choose a token of the answer to see what it rests on; the number below it is the probability with which the model writes it.");
  if (groups.some((group) => group.length > 1)) lines.push("In the table, each method has a scale of its own; the fullest bar is its largest value.");
  lines.push(`Point at a ${element} for its value; arrow keys move along the ${every.some((data) => data.picture) ? "image" : "text"}, and a bar\u2019s name leads to its place.`);
  return make("details", "guide", make("summary", "", "How to read this"), make("ul", "", ...lines.map((text) => make("li", "", text))));
}
