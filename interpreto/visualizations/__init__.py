"""Explanations in a page, in a notebook, in a terminal and as figures. Nothing here runs a model."""

from interpreto.visualizations.attributions import plot_attributions, to_fragment, to_html
from interpreto.visualizations.curves import plot_curves
from interpreto.visualizations.terminal import to_text
from interpreto.visualizations.word_clouds import plot_word_clouds

__all__ = ["plot_attributions", "plot_curves", "plot_word_clouds", "to_fragment", "to_html", "to_text"]
