"""A judge whose answers are kept on disk, within a budget: a run that is stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from os import PathLike
from typing import Any, TypeVar

from interpreto.errors import FileError, JudgeError, OptionError
from interpreto.judges.base import Answer, Chat, Judge
from interpreto.storage import check_writable
from interpreto.validation import check_optional_count

T = TypeVar("T")
TABLE = "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value TEXT NOT NULL)"
KIND = 0x1A7E901
"""Number that tells a file of ours from another program's database."""


class CachedJudge(Judge):
    """Keep the answers of a judge, and ask it only what is not kept.

    Every reply is written when it comes, so that a run that is killed loses none, and the next asks only for the rest. A
    prompt without a reply is not kept: it is asked again. Files hold answers by a digest of judge, prompt and options; they
    hold neither prompts nor keys.

    Args:
        judge: Whom to ask.
        path: File of the answers, which is made where it is missing; None: they are kept in memory.
        calls: Most prompts that are sent by this object; None: no bound.
        tokens: Tokens read and written after which no prompt is sent any more, as far as the judge counts them; None: no
            bound.

    Raises:
        FileError: the file is no cache of answers, or cannot be written.
        OptionError: a bound is below 0, or the judge is a function without a name.

    Examples:
        >>> from interpreto.judges import CallableJudge
        >>> asked = []
        >>> judge = CachedJudge(CallableJudge(lambda chat: asked.append(chat) or "yes", name="always"))
        >>> [reply.text for reply in judge.generate(["a", "b", "a"])], len(asked)
        (['yes', 'yes', 'yes'], 2)
        >>> judge.generate(["b"])[0].text, len(asked), judge.usage.cached
        ('yes', 2, 1)
    """

    def __init__(
        self,
        judge: Judge,
        path: str | PathLike[str] | None = None,
        *,
        calls: int | None = None,
        tokens: int | None = None,
    ) -> None:
        super().__init__(judge.name)
        if path is not None and "<lambda>" in judge.identity():
            raise OptionError("`judge`: has no name that its file could go by; make it as CallableJudge(function, name=...).")
        self.judge = judge
        self.calls = check_optional_count(calls, "calls", 0)
        self.tokens = check_optional_count(tokens, "tokens", 0)
        self.path = None if path is None else check_writable(path)
        self._kept: dict[str, Any] = {}
        self._spent = judge.usage.calls, judge.usage.tokens
        if self.path is not None:
            with closing(self._open()):
                pass

    def identity(self) -> str:
        """Return that of the judge."""
        return self.judge.identity()

    def stream(self, prompts: Sequence[Chat], max_new_tokens: int) -> Iterator[tuple[int, Answer]]:
        """Yield what is kept, then what the judge answers."""
        keys = [self._key("generate", prompt, max_new_tokens) for prompt in prompts]

        def ask(places: Sequence[int]) -> Iterator[tuple[int, Answer]]:
            return self.judge.stream([prompts[i] for i in places], max_new_tokens)

        for place, value in self._known_or(keys, ask, lambda a: None if a.text is None else [a.text, a.tokens]):
            yield place, value if isinstance(value, Answer) else Answer(str(value[0]), None, int(value[1]))

    def stream_choices(self, prompts: Sequence[Chat], choices: Sequence[str]) -> Iterator[tuple[int, list[float] | None]]:
        """Yield what is kept, then what the judge answers."""
        keys = [self._key("choose", prompt, list(choices)) for prompt in prompts]

        def ask(places: Sequence[int]) -> Iterator[tuple[int, list[float] | None]]:
            return self.judge.stream_choices([prompts[i] for i in places], choices)

        yield from self._known_or(keys, ask, lambda values: values)

    def stream_fits(self, pairs: Sequence[tuple[str, str]]) -> Iterator[tuple[int, float | None]]:
        """Yield what is kept, then what the judge tells in its own way."""
        keys = [self._key("fits", [], list(pair)) for pair in pairs]

        def ask(places: Sequence[int]) -> Iterator[tuple[int, float | None]]:
            return self.judge.stream_fits([pairs[i] for i in places])

        yield from self._known_or(keys, ask, lambda value: value)

    def _known_or(
        self, keys: Sequence[str], ask: Callable[[Sequence[int]], Iterator[tuple[int, Any]]], kept: Callable[[Any], Any]
    ) -> Iterator[tuple[int, Any]]:
        """Yield kept values, then new ones, which are kept as they come; equal prompts are asked once.

        Raises:
            JudgeError: the budget is spent.
        """
        if self.path is None:
            yield from self._asked(keys, ask, kept, self._kept.get, self._kept.__setitem__)
            return
        with closing(self._open()) as file:

            def get(key: str) -> Any:
                row = file.execute("SELECT value FROM answers WHERE key = ?", (key,)).fetchone()
                return None if row is None else json.loads(row[0])

            def put(key: str, value: Any) -> None:
                file.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, json.dumps(value)))

            try:
                yield from self._asked(keys, ask, kept, get, put)
            except (sqlite3.Error, ValueError) as error:
                raise FileError(f"`path`: {str(self.path)!r} cannot be read or written ({error}).") from error

    def _asked(
        self,
        keys: Sequence[str],
        ask: Callable[[Sequence[int]], Iterator[tuple[int, Any]]],
        kept: Callable[[Any], Any],
        get: Callable[[str], Any],
        put: Callable[[str, Any], Any],
    ) -> Iterator[tuple[int, Any]]:
        places: dict[str, list[int]] = {}
        for place, key in enumerate(keys):
            places.setdefault(key, []).append(place)
        missing: list[str] = []
        for key, own in places.items():
            value = get(key)
            if value is None:
                missing.append(key)
                continue
            self.usage.cached += len(own)
            yield from ((place, value) for place in own)
        while missing:
            now = missing[: self._room(len(missing))]
            for i, value in ask([places[key][0] for key in now]):
                if (found := kept(value)) is not None:
                    put(now[i], found)
                yield from ((place, value) for place in places[now[i]])
            self._count()
            missing = missing[len(now) :]
        self._count()

    def _count(self) -> None:
        own = self.judge.usage
        self.usage.calls, self.usage.tokens = own.calls - self._spent[0], own.tokens - self._spent[1]

    def _room(self, wanted: int) -> int:
        """Return how many prompts may be sent now.

        Raises:
            JudgeError: none.
        """
        self._count()
        room = wanted if self.calls is None else min(wanted, self.calls - self.usage.calls)
        if self.tokens is not None:
            room = 0 if self.usage.tokens >= self.tokens else min(room, 16)  # few at a time, so that the bound holds
        if room <= 0:
            bound = f"{self.tokens} tokens" if self.calls is None or self.usage.calls < self.calls else f"{self.calls} calls"
            kept = "in memory" if self.path is None else f"in {str(self.path)!r}"
            raise JudgeError(
                f"{self.name}: the budget of {bound} is spent, and {wanted} prompts are left; replies so far are "
                f"kept {kept}: raise the budget and run the same again."
            )
        return room

    def _key(self, kind: str, prompt: Chat, options: Any) -> str:
        asked = [self.judge.identity(), kind, [[m["role"], m["content"]] for m in prompt], options]
        return hashlib.sha256(json.dumps(asked, ensure_ascii=True).encode()).hexdigest()

    def _open(self) -> sqlite3.Connection:
        """Return the open file, which commits every statement by itself.

        Raises:
            FileError: it is something else, or cannot be opened.
        """
        assert self.path is not None
        try:
            file = sqlite3.connect(self.path, timeout=30, isolation_level=None)
            kind = file.execute("PRAGMA application_id").fetchone()[0]
            tables = file.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if kind != KIND and tables:
                file.close()
                raise FileError(f"`path`: {str(self.path)!r} is a database of another program; pass a path of its own.")
            file.execute(f"PRAGMA application_id = {KIND}")
            file.execute(TABLE)
        except sqlite3.Error as error:
            raise FileError(f"`path`: {str(self.path)!r} is no cache of answers ({error}).") from error
        return file
