"""The logit lens: what a model would answer if it stopped after each of its layers."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from interpreto.concepts.lenses.base import Lens


class LogitLens(Lens):
    """Read the activations after each layer by the model's own last layers: its final normalization and its head.

    The model itself runs on from the activations, so that its scales, soft caps and transforms are its own, and the lens
    after the last block is the model's output. Of an encoder-decoder the layers of the decoder are read.

    Args:
        model_or_splitter: A model, a folder, a repository's id or a pipeline; or a splitter, whose model and inputs are read.
        tokenizer: The model's tokenizer; None: the one next to it.
        k: Outputs that are kept per layer and token.
        layers: Numbers of blocks (``-1``: the last), and ``"embeddings"``, the input of the first; None: all.
        batch_size: Texts per pass; None: as many as a budget of tokens holds.
        max_new_tokens: Tokens that a language model writes after each text, to be read too.

    Raises:
        ModelError: the layers of the model are no modules of their own (ALBERT's), or do not lead to its head.
        TaskError: the outputs of the model are no distribution.

    Examples:
        >>> from interpreto import LogitLens, demo
        >>> lens = LogitLens(*demo.load_classifier())
        >>> output = lens("A gorgeous, moving film.")[0]
        >>> output.layers, output.top()[0][0]
        (('embeddings', '0', '1', '2'), 'positive')

    References:
        nostalgebraist, 2020, https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru/interpreting-gpt-the-logit-lens
    """

    def translated(self, layer: int, hidden: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        """Return the activations as they are."""
        return hidden
