"""Transcoders and crosscoders with drawn tensors, and models whose attention and normalizations are those of another pass."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

SOFTMAX = (F.softmax, torch.softmax, torch.Tensor.softmax)
ROOTS = (torch.rsqrt, torch.Tensor.rsqrt)


def drawn(explainer, reads, writes=(), *, seed=0, bias=0.0, offset=1.0, dtype=torch.float64):
    """Return a coder with drawn encoder, directions, offsets and skip connection.

    Args:
        explainer: A coder that is not fitted.
        reads: Widths of the places that are read.
        writes: Widths of the places that are written; none of a crosscoder.
        seed: Of the draws.
        bias: Of the encoder.
        offset: Size of the decoder's bias.
        dtype: Of the tensors.
    """
    model, draw = explainer.concept_model, torch.Generator().manual_seed(seed)
    normal = lambda *shape: torch.randn(*shape, generator=draw).to(dtype)  # noqa: E731
    c, own, out = model.nb_concepts, reads[0] if model.layered else sum(reads), sum(writes or reads)
    tensors = {
        "encoder_weight": normal(c, own) / own**0.5,
        "encoder_bias": torch.full((c,), bias, dtype=dtype),
        "atoms": normal(c, out) / out**0.5,
        "decoder_bias": offset * normal(out),
        "units": torch.ones(len(writes or reads), dtype=dtype),
    }
    if model.layered:
        widths = torch.tensor([*reads, *writes])
        model.widths = widths
        tensors["atoms"] = torch.where(model.wiring.reached(c, widths.device), tensors["atoms"], 0.0)
    if model.activation == "jumprelu":
        tensors["threshold"] = torch.full((c,), 0.1, dtype=dtype)
    if model.has_skip:
        tensors["skip"] = normal(out, own) / own**0.5
    model.take(tensors, torch.tensor([*reads, *writes]))
    return explainer


class Repeated(TorchFunctionMode):
    """Takes attention patterns and scales of normalizations down in one pass, and gives them again in others."""

    def __init__(self):
        super().__init__()
        self.kept, self.at, self.again = [], 0, False

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is F.layer_norm:
            return self._layer_norm(*args, **kwargs)
        if func in SOFTMAX or func in ROOTS:
            return self._constant(lambda: func(*args, **kwargs))
        return func(*args, **kwargs)

    def _constant(self, compute):
        if not self.again:
            self.kept.append(compute())
            return self.kept[-1]
        self.at += 1
        return self.kept[self.at - 1]

    def _layer_norm(self, x, shape, weight=None, bias=None, eps=1e-5):
        centered = x - x.mean(-1, keepdim=True)
        scale = self._constant((centered.square().mean(-1, keepdim=True) + eps).rsqrt)
        return centered * scale * weight + bias


@contextmanager
def placed(model, given, seen):
    """Context manager in which some places hold given values, and what others hold is noted.

    Args:
        model: The model.
        given: Functions of nothing to values, by place.
        seen: Takes what the places of its keys hold.
    """
    modules = dict(model.named_modules())

    def of(name):
        module = modules[name.removesuffix(":input")]

        def change(value):
            main = value[0] if isinstance(value, tuple) else value
            main = given[name]() if name in given else main
            if name in seen:
                seen[name] = main
            return (main, *value[1:]) if isinstance(value, tuple) else main

        if name.endswith(":input"):
            return module.register_forward_pre_hook(lambda _, args: change(args))
        return module.register_forward_hook(lambda _, __, out: change(out))

    with ExitStack() as stack:
        for name in dict.fromkeys([*given, *seen]):
            stack.callback(of(name).remove)
        yield


class ConstantPass:
    """Passes of a model with the attention patterns and scales of normalizations of the first of them.

    Args:
        network: The model.
        parts: Its `ReplacedModel`.
        score: Takes logits.
    """

    def __init__(self, network, parts, score):
        self.network, self.parts, self.score, self.mode = network, parts, score, Repeated()
        self.chosen = [codes for codes in parts.codes if codes is not None]
        self.reads = {codes.group.read.name: None for codes in self.chosen}

    def __call__(self, values):
        """Return the metric and the pre-activations of active concepts, without their biases, in order.

        Args:
            values: What each place holds; skip connections add to it.
        """
        given = {place.point.name: lambda p=p: self._value(p, values[p]) for p, place in enumerate(self.parts.places)}
        self.mode.at = 0
        with torch.no_grad(), placed(self.network, given, self.reads), self.mode:
            found = self.score(self.network(self.parts.read.row.input_ids[None]).logits)
        self.mode.again = True
        return found.double(), torch.cat([self._read(codes) for codes in self.chosen])

    def everything(self):
        """Return what places hold, without what skip connections add."""
        held = [self.parts.states[place.point.name][None].clone() for place in self.parts.places]
        for p, place in enumerate(self.parts.places):
            for coder in coders_of(place):
                held[p] -= self.parts.states[place.writers[0].read.name] @ skip_of(coder)
        return held

    def nothing(self):
        """Return what places hold without any part: the biases of decoders."""
        held = [torch.zeros_like(values) for values in self.everything()]
        for p, place in enumerate(self.parts.places):
            for coder in coders_of(place):
                held[p] += coder.wiring.written(coder.decoder_bias)[place.writers[0].written[p]]
        return held

    def through_concepts(self, embedding, errors):
        """Return the metric where active concepts are read anew, and stay active, and write next to given errors.

        Args:
            embedding: What enters the first block.
            errors: Of each place; that of the first one is not used.
        """

        def written(place):
            found = self.nothing()[place] + errors[place]
            for _, codes in self.parts.writers(place):
                weight, bias = codes.group.encoder(codes.chosen)
                amounts = (self.reads[codes.group.read.name] @ weight.T + bias) * (codes.amounts > 0)
                found = found + amounts @ codes.group.directions(place, codes.chosen)
            return found

        first, *others = self.parts.places
        given = {first.point.name: lambda: embedding}
        given |= {place.point.name: lambda p=p: written(p) for p, place in enumerate(others, 1)}
        self.mode.at = 0
        with torch.no_grad(), placed(self.network, given, self.reads), self.mode:
            return float(self.score(self.network(self.parts.read.row.input_ids[None]).logits))

    def _value(self, place, values):
        for coder in coders_of(self.parts.places[place]):
            values = values + self.reads[self.parts.places[place].writers[0].read.name] @ skip_of(coder)
        return values

    def _read(self, codes):
        weight, _ = codes.group.encoder(codes.chosen)
        return (self.reads[codes.group.read.name][0] @ weight.T)[codes.amounts > 0]


def coders_of(place):
    """Return the concept model that writes a place, if there is one."""
    return [group.coder.concept_model for group in place.writers[:1]]


def skip_of(coder):
    """Return the matrix of a skip connection, zeros where there is none."""
    return coder.skip.T if coder.has_skip else torch.zeros(coder.wiring.reads[0], coder.wiring.writes[0]).double()
