"""A page to type into: the text is explained again at every change. Needs gradio."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import interpreto
from interpreto import demo
from interpreto.errors import InterpretoError, OptionError
from interpreto.inputs.targets import Contrast
from interpreto.models.tasks import Classification, Task, resolve_task
from interpreto.registry import TEXT_METHODS, find_method
from interpreto.visualizations.attributions import to_html
from interpreto.visualizations.html.framing import frame
from interpreto.visualizations.html.page import escaped

TEXT, PROMPT = "The acting is wonderful, but the story is too long and rather dull.", "The capital of France is"
"""Texts in the box at first, of a classifier and of a language model."""
PREDICTED = "the prediction"
UNITS = ("word", "token", "sentence")
LONGEST = 16
"""Tokens that a language model writes where no continuation is given."""
FONTS = ("system-ui", "sans-serif")
"""Fonts of the computer: the page loads none."""

Explain = Callable[[str, str, str, str, str], str]
"""A function from a text, a method, a unit, a target and an alternative to HTML."""


def build(model: Any = None, tokenizer: Any = None, *, text: str | None = None, method: str | None = None) -> Any:
    """Build the page for a model; nothing is served yet.

    Args:
        model: A classifier or a language model; None: the embedded sentiment classifier.
        tokenizer: Its tokenizer.
        text: What the box holds at first; None: a sentence.
        method: The method that is chosen at first, by either of its names; None: ``"kernel-shap"`` for classifiers,
            ``"occlusion"`` for language models.

    Returns:
        A ``gradio.Blocks``: ``.launch()`` serves it, on a computer or as a Space.

    Raises:
        OptionError: gradio is not installed, or there is no such method.

    Examples:
        >>> from interpreto.app import build
        >>> page = build()  # doctest: +SKIP
        >>> page.launch()  # doctest: +SKIP
    """
    gradio = _gradio()
    if model is None:
        model, tokenizer = demo.load_classifier()
    task = resolve_task(model, tokenizer, None, None)
    classes = isinstance(task, Classification)
    chosen = _read_method(method or ("kernel-shap" if classes else "occlusion"))
    explain = explaining(model, tokenizer, task)
    text = text or (TEXT if classes else PROMPT)
    with gradio.Blocks(title="interpreto", analytics_enabled=False) as page:
        gradio.Markdown(f"# Why did it say so?\n\n{_about(model, task)}")
        box = gradio.Textbox(text, label="Text", lines=3, elem_id="text")
        with gradio.Row():
            how = gradio.Dropdown([found.slug for found in TEXT_METHODS], value=chosen, label="Method")
            unit = gradio.Dropdown(list(UNITS), value=UNITS[0], label="Unit")
            target, against = _targets(gradio, task)
        shown = gradio.HTML(elem_id="explanation")
        inputs = [box, how, unit, target, against]
        if classes:
            changes = [part.change for part in inputs]
        else:  # a language model is too slow to be run at every letter
            changes = [how.change, unit.change, box.submit, target.submit, against.submit]
        gradio.on([page.load, *changes], explain, inputs, shown, trigger_mode="always_last", show_progress="minimal")
    return page


def serve(page: Any, *, host: str = "127.0.0.1", port: int | None = None, opens: bool = False, waits: bool = True) -> str:
    """Serve a page of `build` until the process is stopped.

    Args:
        page: The page.
        host: Address to listen on.
        port: Port; None: 7860, or the next that is free.
        opens: Show it in the browser.
        waits: Return only when it is stopped.

    Returns:
        Its address.

    Raises:
        OptionError: The port is taken.
    """
    gradio = _gradio()
    theme = gradio.themes.Default(font=list(FONTS), font_mono=["ui-monospace", "monospace"])
    try:
        _, address, _ = page.launch(
            server_name=host, server_port=port, inbrowser=opens, prevent_thread_lock=True, quiet=True, theme=theme, share=False
        )
    except OSError as error:
        raise OptionError(f"`port`: {str(error).split(chr(10))[0]} Pass another one, or None.") from error
    print(f"interpreto app: {address}  (Ctrl+C stops it)")
    if waits:
        page.block_thread()
    return address


def explaining(model: Any, tokenizer: Any, task: Task) -> Explain:
    """Return the function that the page calls; an error of ours is shown in place of an explanation."""

    def explain(text: str, method: str, unit: str, target: str, against: str) -> str:
        if not text.strip():
            return "<p>Type a text.</p>"
        try:
            kind = getattr(interpreto, _class(method))
            explainer = kind(model, tokenizer, granularity=unit)
            if isinstance(task, Classification):
                found = explainer(text, _class_target(target, against))
            else:
                wanted = Contrast(target, against) if target and against else target or None
                found = explainer(text, wanted, generation_kwargs=None if target else {"max_new_tokens": LONGEST})
        except InterpretoError as error:
            return f'<p role="alert">{escaped(str(error))}</p>'
        return frame(to_html(found, title="Explanation"), "The explanation of the text")

    return explain


def _class_target(target: str, against: str) -> Any:
    if not target or target == PREDICTED:
        return None
    return Contrast(target, against) if against and against not in (PREDICTED, target) else target


def _targets(gradio: Any, task: Task) -> tuple[Any, Any]:
    """Return the fields of the target and of the alternative to it."""
    if isinstance(task, Classification):
        names = list(task.id2label.values())
        return (
            gradio.Dropdown([PREDICTED, *names], value=PREDICTED, label="Class"),
            gradio.Dropdown([("nothing", ""), *names], value="", label="rather than"),
        )
    return (
        gradio.Textbox("", label="Continuation", placeholder="empty: what the model writes", elem_id="target"),
        gradio.Textbox("", label="rather than", placeholder="empty: nothing", elem_id="against"),
    )


def _about(model: Any, task: Task) -> str:
    name = getattr(getattr(model, "config", None), "name_or_path", "") or type(model).__name__
    ask = "Type a text" if isinstance(task, Classification) else "Type a prompt, and press Enter"
    return f"{ask}: the words that {name} depends on are colored, and listed below with their shares of the score."


def _class(method: str) -> str:
    return next(found.name for found in TEXT_METHODS if found.slug == method)


def _read_method(name: str) -> str:
    found = find_method(name)
    if found not in TEXT_METHODS:
        raise OptionError(f"`method`: got {name!r}; pass one of {', '.join(known.slug for known in TEXT_METHODS)}.")
    assert found is not None
    return found.slug


def _gradio() -> Any:
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    try:
        import gradio  # noqa: PLC0415  # optional
    except ImportError as error:
        raise OptionError("the app needs gradio, which is not installed; run `pip install gradio`.") from error
    return gradio
