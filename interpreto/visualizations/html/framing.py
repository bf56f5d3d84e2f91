"""A page within another page: its styles and scripts stay its own, and the frame is as high as the page."""

from __future__ import annotations

from interpreto.visualizations.html.page import escaped

FIT = (
    "const page = this.contentDocument.documentElement, fit = () => { this.style.height = `${page.offsetHeight}px`; };"
    "new ResizeObserver(fit).observe(page); fit();"
)
"""Keep a frame as high as its page, whatever is opened or closed in it."""


def frame(page: str, title: str) -> str:
    """Return a page as a frame for the HTML of another: where scripts are stripped from what is inserted, a frame's still run.

    Args:
        page: A self-contained page, such as `to_html` returns.
        title: What the frame shows, for screen readers.

    Returns:
        One ``<iframe>`` that holds the page, and loads nothing.

    Examples:
        >>> frame("<p>Hello</p>", "A greeting")[:45]
        '<iframe title="A greeting" srcdoc="&lt;p&gt;H'
    """
    style = "display: block; width: 100%; min-height: 8rem; border: 0"
    return f'<iframe title="{escaped(title)}" srcdoc="{escaped(page)}" style="{style}" onload="{escaped(FIT)}"></iframe>'
