"""Explainers and texts of the tests of data sets; functions are those of a module, so that other processes find them."""

from __future__ import annotations

import functools
import os
import signal
import time
from pathlib import Path

import numpy as np
import torch

from interpreto import BlackBox, KernelShap, Occlusion
from interpreto.datasets import ExplanationDataset
from interpreto.datasets.shards import SHARDS

WORDS = ("good", "bad", "film", "plot", "a", "the", "dull", "fine", "long", "short")


def texts(n: int, seed: int = 0) -> list[str]:
    """Return texts of three to nine words."""
    draws = np.random.default_rng(seed)
    return [" ".join(draws.choice(WORDS, draws.integers(3, 10))) for _ in range(n)]


def score(found: list[str]) -> np.ndarray:
    """Return two scores of each text; a text with 'boom' cannot be scored."""
    if any("boom" in text for text in found):
        raise RuntimeError("boom")
    good = np.array([text.count("good") - text.count("bad") + 0.1 * text.count("film good") for text in found], dtype=float)
    return np.stack([good, -good], 1)


def slowly(found: list[str]) -> np.ndarray:
    """Return scores after a while, without use of the processor."""
    time.sleep(0.002 * len(found))
    return score(found)


def killing(found: list[str]) -> np.ndarray:
    """End the process on a text of suicide."""
    if any("suicide" in text for text in found):
        os.kill(os.getpid(), signal.SIGKILL)
    return score(found)


class KillsOnce:
    """Ends its process at the first call, and leaves a file behind that says so."""

    def __init__(self, file: str) -> None:
        self.file = file

    def __call__(self, found: list[str]) -> np.ndarray:
        if not Path(self.file).exists():
            Path(self.file).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return score(found)


def slow_occlusion() -> Occlusion:
    return Occlusion(BlackBox(slowly, ["up", "down"]))


def suicidal() -> Occlusion:
    return Occlusion(BlackBox(killing, ["up", "down"]))


def suicidal_once(file: str) -> Occlusion:
    return Occlusion(BlackBox(KillsOnce(file), ["up", "down"]))


def never(found: list[str]) -> np.ndarray:
    raise RuntimeError("the server is on fire")


@functools.cache
def occlusion() -> Occlusion:
    return Occlusion(BlackBox(score, ["up", "down"]))


@functools.cache
def sampled() -> KernelShap:
    return KernelShap(BlackBox(score, ["up", "down"]), n_perturbations=24, random_state=3)


def assert_same(dataset: ExplanationDataset, expected: list, tolerance: float = 0.0) -> None:
    """Assert that each explanation is there once, in its place, with equal numbers."""
    assert list(dataset.ids()) == list(range(len(expected)))
    for found, one in zip(dataset, expected, strict=True):
        assert found.text == one.text and found.elements == one.elements and found.target_labels == one.target_labels
        for name in ("attributions", "base_scores", "standard_error"):
            a, b = getattr(found, name), getattr(one, name)
            assert (a is None) == (b is None)
            if a is not None:
                assert torch.allclose(a, b, rtol=0, atol=tolerance, equal_nan=True), name


def digests(folder: Path) -> dict[str, bytes]:
    """Return the bytes of each shard, by its name."""
    return {file.name: file.read_bytes() for file in sorted((folder / SHARDS).iterdir())}
