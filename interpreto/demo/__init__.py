"""A small sentiment classifier and human-rated sentences, inside the package: examples and tests that need no network."""

from interpreto.demo.assets import DOMAINS, SPLITS, Sentence, load_classifier, load_sentences

__all__ = ["DOMAINS", "SPLITS", "Sentence", "load_classifier", "load_sentences"]
