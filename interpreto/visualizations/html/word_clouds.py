"""Clouds of words as SVG, which needs no script."""

from __future__ import annotations

from collections.abc import Sequence

from interpreto.visualizations.cloud_layout import HEIGHT, WIDTH, Cloud
from interpreto.visualizations.html.curves import figure_page
from interpreto.visualizations.html.static import plain

GUIDE = "Each cloud has the words of one concept. The larger a word, the more it is this concept's own; its place says nothing."


def cloud_page(title: str, clouds: Sequence[Cloud]) -> str:
    """Return a self-contained page."""
    return figure_page(title, GUIDE, cloud_fragment(clouds))


def cloud_fragment(clouds: Sequence[Cloud]) -> str:
    """Return one element with all clouds, next to each other where there is room."""
    return f'<div style="display:flex;flex-wrap:wrap;gap:16px">{"".join(map(_drawn, clouds))}</div>'


def _drawn(cloud: Cloud) -> str:
    words = "".join(
        f'<text x="{word.x}" y="{word.y}" font-size="{word.size}" text-anchor="middle"><title>{plain(word.text)}: '
        f"{word.weight:.3g}</title>{plain(word.text)}</text>"
        for word in cloud.words
    )
    said = ", ".join(word.text for word in cloud.words)
    return (
        f'<figure style="margin:0;width:{WIDTH}px;max-width:100%"><figcaption><b>{plain(cloud.name)}</b></figcaption>'
        f'<svg class="interpreto-cloud" role="img" aria-label="{plain(cloud.name)}: {plain(said, 2000)}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" style="width:100%" fill="currentColor" font-family="system-ui,sans-serif">'
        f"{words}</svg></figure>"
    )
