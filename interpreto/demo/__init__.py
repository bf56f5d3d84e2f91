"""Small classifiers of sentences and of images, and data for them, inside the package: examples and tests need no network."""

from interpreto.demo.assets import DOMAINS, SPLITS, Sentence, load_classifier, load_sentences
from interpreto.demo.images import DigitImage, load_image_classifier, load_images

__all__ = [
    "DOMAINS",
    "SPLITS",
    "DigitImage",
    "Sentence",
    "load_classifier",
    "load_image_classifier",
    "load_images",
    "load_sentences",
]
