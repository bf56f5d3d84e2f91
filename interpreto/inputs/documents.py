"""A question about documents: one input, of which the documents are explained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interpreto.errors import InputError
from interpreto.inputs.boundaries import Span
from interpreto.inputs.chat import render
from interpreto.validation import shown


@dataclass(frozen=True)
class Documents:
    """A question about documents, as one input of a language model.

    The documents are numbered from 1 and written before the question: as a message of a chat where the tokenizer has a chat
    template, else as a text that ends in ``Answer:``, after which the target begins with a space. Units are cut from the
    documents alone; their headings, the question and the template are left as they are. With ``granularity="document"`` each
    document is a unit.

    Args:
        question: The question.
        documents: Texts, or a dictionary from names to texts.
        names: Name of each document, which its heading shows; None: documents have numbers alone.
        instruction: What the model is told before the documents.

    Raises:
        InputError: There are no documents, or one is empty; or there is not one name for each.

    Examples:
        >>> documents = Documents("Who came first?", {"report": "Ann won the race.", "weather": "It rained all day."})
        >>> print(documents.body)
        [1] report
        Ann won the race.
        <BLANKLINE>
        [2] weather
        It rained all day.
        <BLANKLINE>
        Question: Who came first?
    """

    question: str
    documents: Sequence[str] | Mapping[str, str]
    names: Sequence[str] | None = None
    instruction: str = ""

    def __post_init__(self) -> None:
        given, names = self.documents, self.names
        if isinstance(given, Mapping):
            if names is not None:
                raise InputError(f"`names`: got {shown(names)}, and `documents` has names already; pass one of them.")
            given, names = list(given.values()), list(given)
        if not isinstance(self.question, str) or not self.question.strip():
            raise InputError(f"`question`: got {shown(self.question)}; pass a text.")
        if isinstance(given, str) or not isinstance(given, Sequence) or not given:
            raise InputError(f"`documents`: got {shown(given)}; pass a list of texts, or a dictionary from names to texts.")
        for i, text in enumerate(given):
            if not isinstance(text, str) or not text.strip():
                raise InputError(f"`documents[{i}]`: got {shown(text)}; pass a text that is not empty.")
        if names is not None and (len(names) != len(given) or not all(isinstance(name, str) for name in names)):
            raise InputError(f"`names`: got {shown(names)} for {len(given)} documents; pass one text for each.")
        if not isinstance(self.instruction, str):
            raise InputError(f"`instruction`: got {shown(self.instruction)}; pass a text.")
        object.__setattr__(self, "documents", tuple(text.strip() for text in given))
        object.__setattr__(self, "names", None if names is None else tuple(names))

    def __len__(self) -> int:
        return len(self.documents)

    def name(self, i: int) -> str:
        """Return the name of a document; without one, its number, from 1."""
        return str(i + 1) if self.names is None else self.names[i]

    @property
    def body(self) -> str:
        """Instruction, documents and question, as a message has them."""
        return self._written()[0]

    def _written(self) -> tuple[str, list[Span]]:
        """Return the body, and the characters of each document in it."""
        text, spans = f"{self.instruction.strip()}\n\n" if self.instruction.strip() else "", []
        for i, document in enumerate(self.documents):
            text += f"[{i + 1}]\n" if self.names is None else f"[{i + 1}] {self.names[i]}\n"
            spans.append((len(text), len(text) + len(document)))
            text += f"{document}\n\n"
        return f"{text}Question: {self.question.strip()}", spans

    def rendered(self, tokenizer: Any, name: str, replies: bool) -> tuple[str, list[Span], bool]:
        """Return the whole input, the characters of each document, and whether a chat template wrote it.

        Args:
            tokenizer: A tokenizer; None: there is none.
            name: What messages of errors call the input.
            replies: A reply of the model follows.
        """
        body, spans = self._written()
        if not getattr(tokenizer, "chat_template", None):
            return (f"{body}\nAnswer:" if replies else body), spans, False
        chat = render(tokenizer, [{"role": "user", "content": body}], name, replies)
        shift = chat.spans[0][0]
        return chat.text, [(a + shift, b + shift) for a, b in spans], True

    def places(self, text: str) -> list[Span]:
        """Return the characters of each document in the text of an explanation.

        Raises:
            InputError: the documents are not in the text, in this order.
        """
        found, end = [], 0
        for i, document in enumerate(self.documents):
            start = text.find(document, end)
            if start < 0:
                raise InputError(f"`explanation`: {text[:40]!r} does not hold document {i + 1} ({document[:40]!r}).")
            end = start + len(document)
            found.append((start, end))
        return found
