"""Attributions of generations by their definitions: one target, one copy, one run of the model at a time, in float64.

Shares nothing with the engine but the sample (ids and units): embeddings go in as `inputs_embeds`, every run reads whole
rows of logits, and nothing is batched, padded, cached or shared.
"""

from __future__ import annotations

import copy
import itertools
import math

import numpy as np
import torch


class Reference:
    """A float64 copy of a model, and the definitions."""

    def __init__(self, model, tokenizer):
        precise = torch.float32 if model.config.model_type == "mixtral" else torch.float64  # its experts have no float64
        self.model = copy.deepcopy(model).to(precise)
        self.encodes = model.config.is_encoder_decoder
        parts = (self.model.get_encoder(), self.model.get_decoder()) if self.encodes else (self.model,) * 2
        self.layers = [part.get_input_embeddings() for part in parts]
        self.mean = self.layers[0](torch.arange(len(tokenizer))).mean(0).detach()

    def embed(self, sample):
        source = sample.source
        parts = sample.input_ids[:source], sample.input_ids[source:]
        rows = [layer(ids[None])[0] for layer, ids in zip(self.layers, parts, strict=True)]
        return torch.cat(rows).detach()

    def score(self, sample, embeddings, k):
        """log P of the k-th target, given the embeddings of what stands in front of it."""
        readout = sample.targets.readouts[0]
        run, source = embeddings[None, : int(readout.positions[k]) + 1], sample.source
        if self.encodes:
            logits = self.model(inputs_embeds=run[:, :source], decoder_inputs_embeds=run[:, source:]).logits
        else:
            logits = self.model(inputs_embeds=run).logits
        return logits[0, -1].log_softmax(-1)[readout.ids[k]]

    def without(self, sample, removed):
        """Embeddings with the mean in place of some units."""
        embeddings = self.embed(sample)
        for unit in removed:
            embeddings[sample.units.index == unit] = self.mean
        return embeddings

    def players(self, sample, k):
        """The units that begin in front of the k-th target."""
        last = int(sample.targets.readouts[0].positions[k])
        return [u for u in range(len(sample.units)) if int((sample.units.index == u).nonzero()[0]) <= last]

    def rows(self, sample, value):
        """A row for each target: ``value(k, players)`` at the players, NaN elsewhere."""
        out = torch.full((len(sample.targets), len(sample.units)), torch.nan, dtype=torch.float64)
        for k in range(len(sample.targets)):
            players = self.players(sample, k)
            out[k, players] = torch.as_tensor(value(k, players), dtype=torch.float64)
        return out

    @torch.no_grad()
    def occlusion(self, sample):
        def value(k, players):
            whole = self.score(sample, self.embed(sample), k)
            return [float(whole - self.score(sample, self.without(sample, [unit]), k)) for unit in players]

        return self.rows(sample, value)

    @torch.no_grad()
    def shapley(self, sample):
        def value(k, players):
            worth = {
                kept: float(self.score(sample, self.without(sample, set(players) - set(kept)), k))
                for size in range(len(players) + 1)
                for kept in itertools.combinations(players, size)
            }
            return [self.contribution(worth, players, unit) for unit in players]

        return self.rows(sample, value)

    @staticmethod
    def contribution(worth, players, unit):
        total, others = 0.0, [p for p in players if p != unit]
        for size in range(len(others) + 1):
            share = math.factorial(size) * math.factorial(len(others) - size) / math.factorial(len(players))
            for kept in itertools.combinations(others, size):
                total += share * (worth[tuple(sorted((*kept, unit)))] - worth[kept])
        return total

    def integrated_gradients(self, sample, steps):
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        embeddings, free = self.embed(sample), sample.units.free[:, None]
        start = torch.where(free, self.mean, embeddings)

        def value(k, players):
            total = torch.zeros_like(embeddings)
            for node, weight in zip(nodes, weights, strict=True):
                point = (start + (node + 1) / 2 * (embeddings - start)).requires_grad_()
                (gradient,) = torch.autograd.grad(self.score(sample, point, k), point)
                total += weight / 2 * gradient
            per_token = (total * (embeddings - start)).sum(1)
            return [float(per_token[sample.units.index == unit].sum()) for unit in players]

        return self.rows(sample, value)
