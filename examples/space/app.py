"""A Space, or any server, that explains a model's predictions on the texts that visitors type.

Change `MODEL` to your model. Without it, the page shows the sentiment classifier that comes with the library.
"""

from __future__ import annotations

from transformers import AutoModelForSequenceClassification, AutoTokenizer

from interpreto.app import build

MODEL = None  # a folder next to this file, or the name of a model on the hub

if MODEL is None:
    page = build()
else:
    page = build(AutoModelForSequenceClassification.from_pretrained(MODEL).eval(), AutoTokenizer.from_pretrained(MODEL))

if __name__ == "__main__":
    page.launch()
