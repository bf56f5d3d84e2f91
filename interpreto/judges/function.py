"""A judge that is a function of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from interpreto.errors import OptionError
from interpreto.judges.base import Answer, Chat, Judge
from interpreto.validation import shown


class CallableJudge(Judge):
    """Ask a function: any client of a service, a person, a rule.

    Args:
        function: Takes a chat, a list of ``{"role": …, "content": …}``, and returns a text, or None where it has no answer.
            What it raises ends the run: with a `CachedJudge` around it, the run can be resumed.
        name: How labels call the judge, and what caches of its answers go by; None: the function's name.

    Raises:
        OptionError: it is no function.

    Examples:
        >>> judge = CallableJudge(lambda chat: "yes" if "snow" in chat[-1]["content"] else "no", name="snow")
        >>> judge.generate(["snow?", "rain?"])[0].text
        'yes'
        >>> judge.choose(["rain?"], ["yes", "no"]).tolist()
        [[-inf, 0.0]]
    """

    def __init__(self, function: Callable[[Chat], str | None], name: str | None = None) -> None:
        if not callable(function):
            raise OptionError(f"`function`: got {shown(function)}; pass a function from a chat to a text.")
        super().__init__(name or getattr(function, "__qualname__", type(function).__name__))
        self.function = function

    def identity(self) -> str:
        """Return the judge's name."""
        return f"callable {self.name}"

    def stream(self, prompts: Sequence[Chat], max_new_tokens: int) -> Iterator[tuple[int, Answer]]:
        """Yield a reply to one prompt after another."""
        for place, prompt in enumerate(prompts):
            self.usage.calls += 1
            text = self.function(prompt)
            empty = not isinstance(text, str) or not text.strip()
            yield place, Answer(None, "an empty answer") if empty else Answer(str(text))
