"""A model from a text to its concepts, which attribution methods explain like any other model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from interpreto.concepts.joint_rows import first_place
from interpreto.errors import ModelError, OptionError
from interpreto.inputs.streaming import encodings
from interpreto.models.contexts import evaluating
from interpreto.models.forward import Forward
from interpreto.models.session import lock_of

if TYPE_CHECKING:
    from transformers.modeling_outputs import SequenceClassifierOutput

POOLINGS = ("mean", "max")
_PROBE = "It is so, and it was so."


class InputsToConcepts(nn.Module):
    """A text's concepts as the outputs of a model: attribution methods explain them as they explain classes.

    Where activations have one row a text, the outputs are its concepts. Elsewhere they are the concepts of the text's
    tokens, pooled; special tokens do not count, and mask tokens do. With no targets, every concept is explained; ids in one
    dimension are explained for every input.

    Args:
        explainer: Fitted concepts. Their model is run, and left as it was.
        pooling: ``"mean"`` or ``"max"`` over tokens.

    Raises:
        ModelError: the concepts are not fitted, or are of the decoder of an encoder-decoder.
        OptionError: there is no splitter, or no such pooling.

    Examples:
        >>> from interpreto import ModelWithSplitPoints, Occlusion, demo
        >>> from interpreto.concepts import PCAConcepts
        >>> model, tokenizer = demo.load_classifier()
        >>> splitter = ModelWithSplitPoints(model, [1], tokenizer=tokenizer)
        >>> activations = splitter.get_activations(["A charming film.", "Dull."])
        >>> bridge = PCAConcepts(splitter, nb_concepts=2).fit(activations).get_inputs_to_concepts_model()
        >>> explanation = Occlusion(bridge, tokenizer)("A charming film.")[0]
        >>> explanation.target_labels, explanation.elements
        (['concept 0', 'concept 1'], ['A', 'charming', 'film', '.'])
    """

    def __init__(self, explainer: Any, pooling: str = "mean") -> None:
        super().__init__()
        splitter = explainer.own_splitter()
        if pooling not in POOLINGS:
            raise OptionError(f"`pooling`: got {pooling!r}; pass one of {', '.join(map(repr, POOLINGS))}.")
        if splitter.hook_point(first_place(explainer.split_point)).stack == "decoder":
            raise ModelError(
                f"`concept_explainer`: {explainer.split_point!r} reads what {type(splitter.model).__name__} writes, and its "
                "concepts do not follow from a text alone; use concepts of the encoder."
            )
        self.explainer, self.pooling = explainer, pooling
        self.model = splitter.model
        self.config = ConceptsConfig(getattr(splitter.model, "config", None), explainer.nb_concepts)
        tokenizer = splitter.tokenizer
        special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id, tokenizer.mask_token_id}
        self._special = torch.tensor(sorted(special), dtype=torch.long)
        # Finds out how the split point lays activations out, while no embedding is replaced.
        (probe,) = encodings(splitter.encoder, _PROBE)
        splitter.batch_activations(splitter.samples([probe.input_ids]), explainer.split_point)

    @property
    def device(self) -> torch.device:
        """Return the device of the model."""
        return next(self.model.parameters()).device

    def get_input_embeddings(self) -> nn.Module:
        """Return the model's own; of an encoder-decoder, those that its encoder reads."""
        reader: Any = self.model
        if Forward(reader).encodes:
            reader = reader.get_encoder()
        return reader.get_input_embeddings()

    def get_echo_embeddings(self) -> nn.Module | None:
        """Return those by which a classifier's decoder reads the text again; see `EmbeddingLayers.echo`."""
        return Forward(self.model).embeddings.echo

    def forward(
        self, input_ids: Int[Tensor, "b l"], attention_mask: Tensor | None = None, **others: Any
    ) -> SequenceClassifierOutput:
        """Compute the concepts ``(b, c)`` of a batch, as ``logits``."""
        from transformers.modeling_outputs import SequenceClassifierOutput  # noqa: PLC0415  # slow to import

        explainer, model = self.explainer, self.model
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        padding = self._padding(input_ids, mask)
        if bool(padding[:, 0].any()):
            input_ids, mask, others, padding = _to_the_left(input_ids, mask, others, padding)
        last = (~padding).sum(1) - 1
        inputs = {"input_ids": input_ids, "attention_mask": mask, **others}
        with lock_of(model), evaluating(model):
            rows, owner = explainer.splitter.of_batch(inputs, self._inside(input_ids, mask), last, explainer.split_point)
        codes = explainer.encode_activations(rows)
        if not explainer.has_differentiable_concept_encoder and rows.requires_grad:
            codes = _NoGradient.apply(rows, codes, type(explainer).__name__)
        return SequenceClassifierOutput(logits=self._pooled(codes, owner.to(codes.device), len(input_ids)))

    def _padding(self, ids: Int[Tensor, "b l"], mask: Tensor) -> Bool[Tensor, "b l"]:
        """Return which tokens are padding at the ends of rows; other masked tokens are of masked units and keep their place."""
        known = [self.config.pad_token_id, self.explainer.splitter.tokenizer.pad_token_id]
        masked = mask == 0
        pads = masked & torch.isin(ids, ids.new_tensor([i for i in known if i is not None]))
        leading, trailing = pads.long().cumprod(1), pads.long().flip(1).cumprod(1).flip(1)
        return (leading + trailing) > 0

    def _inside(self, ids: Int[Tensor, "b l"], mask: Tensor) -> Bool[Tensor, "b l"]:
        """Return the tokens whose concepts count: those of the text; without any, all that the model reads, or the first."""
        seen = mask != 0
        inside = seen & ~torch.isin(ids, self._special.to(ids.device))
        inside = torch.where(inside.any(1, keepdim=True), inside, seen)
        first = torch.zeros_like(inside)
        first[:, 0] = True
        return torch.where(inside.any(1, keepdim=True), inside, first)

    def _pooled(self, codes: Float[Tensor, "r c"], owner: Int[Tensor, " r"], b: int) -> Float[Tensor, "b c"]:
        if len(codes) == b:  # in order, one each
            return codes
        out = codes.new_zeros(b, codes.shape[1])
        if self.pooling == "max":
            return out.scatter_reduce(0, owner[:, None].expand_as(codes), codes, "amax", include_self=False)
        return out.index_add(0, owner, codes) / torch.bincount(owner, minlength=b)[:, None]


class ConceptsConfig:
    """A model's config with other outputs: numbers, one per concept; targets are concepts of every input.

    Attributes that are set on it, such as a padding id during a call, are set on the model's own.

    Args:
        config: The model's own.
        nb_concepts: Number of outputs.
    """

    _own = ("_config", "problem_type", "num_labels", "id2label", "label2id")
    shares_targets = True

    def __init__(self, config: Any, nb_concepts: int) -> None:
        self._config = config
        self.problem_type, self.num_labels = "regression", nb_concepts
        self.id2label = {i: f"concept {i}" for i in range(nb_concepts)}
        self.label2id = {name: i for i, name in self.id2label.items()}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_config" not in self.__dict__:
            raise AttributeError(name)
        if name == "pad_token_id":
            return getattr(self._config, name, None)
        return getattr(self._config, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._own:
            self.__dict__[name] = value
        elif self._config is not None:
            setattr(self._config, name, value)

    def get_text_config(self) -> Any:
        """Return the config of the part that reads text, for models of several kinds of input."""
        inner = getattr(self._config, "get_text_config", lambda: self._config)()
        return self if inner is self._config else inner


class _NoGradient(torch.autograd.Function):
    """Identity that raises an error which says why there is no gradient, when one is asked for."""

    @staticmethod
    def forward(ctx: Any, _rows: Tensor, codes: Tensor, name: str) -> Tensor:
        ctx.name = name
        return codes.clone()

    @staticmethod
    def backward(ctx: Any, *_gradients: Any) -> Any:
        raise ModelError(
            f"`model`: no gradient passes through the encoder of {ctx.name}; explain its concepts by a method that perturbs "
            "inputs, such as Occlusion."
        )


def _to_the_left(
    ids: Int[Tensor, "b l"], mask: Tensor, others: dict[str, Any], padding: Bool[Tensor, "b l"]
) -> tuple[Tensor, Tensor, dict[str, Any], Tensor]:
    """Return the batch with its padding on the right, where no position depends on it."""
    order = padding.long().argsort(dim=1, stable=True)
    moved = {
        name: value.gather(1, order) if isinstance(value, Tensor) and value.shape == ids.shape else value
        for name, value in others.items()
    }
    return ids.gather(1, order), mask.gather(1, order), moved, padding.gather(1, order)
