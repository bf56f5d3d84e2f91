"""A small sentiment classifier and rated sentences, inside the package: examples and tests need no network."""

from interpreto.demo.assets import DOMAINS, SPLITS, Sentence, load_classifier, load_sentences

__all__ = ["DOMAINS", "SPLITS", "Sentence", "load_classifier", "load_sentences"]
