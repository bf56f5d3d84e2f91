"""Progress bars: tqdm's, for notebooks and terminals."""

from __future__ import annotations

import warnings

from tqdm import TqdmWarning

with warnings.catch_warnings():
    warnings.simplefilter("ignore", TqdmWarning)  # without ipywidgets a notebook shows the bar of a terminal, which will do
    from tqdm.auto import tqdm

__all__ = ["tqdm"]
