// Frames are as high as what they show, and as light or dark as the page around them.
(() => {
  const frames = () => [...document.querySelectorAll("iframe[src]")];
  const scheme = () => (document.body.dataset.mdColorScheme === "slate" ? "dark" : "light");
  const dress = (frame) => frame.contentWindow?.postMessage({ scheme: scheme() }, "*");

  addEventListener("message", ({ data, source }) => {
    const frame = data?.interpreto && frames().find((each) => each.contentWindow === source);
    if (!frame) return;
    if (data.interpreto.ready) dress(frame);
    if (data.interpreto.scheme) frame.dataset.scheme = data.interpreto.scheme;
    if (data.interpreto.height) frame.style.height = `${data.interpreto.height + 2}px`;
  });
  addEventListener("load", () => {
    frames().forEach(dress);
    new MutationObserver(() => frames().forEach(dress)).observe(document.body, { attributeFilter: ["data-md-color-scheme"] });
  });
})();
