"""Log-probabilities that a server returned, kept in a file: nothing is asked, nor paid, twice."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from interpreto.errors import FileError

TABLE = "create table if not exists answers (question text primary key, answer text not null)"


class AnswerCache:
    """Keep answers by the hash of their questions, in one SQLite file.

    Neither questions nor keys are written. Several processes may share the file.

    Args:
        path: The file; None: nothing is kept.

    Raises:
        FileError: The file holds something else, or cannot be written.
    """

    def __init__(self, path: Any = None) -> None:
        self.path = None if path is None else Path(path)
        if self.path is not None:
            with self._opened() as connection:
                connection.execute(TABLE)

    def find(self, questions: Sequence[str]) -> dict[str, Any]:
        """Return the answers to those of these questions that have one."""
        if self.path is None:
            return {}
        found = {}
        with self._opened() as connection:
            for question in questions:
                row = connection.execute("select answer from answers where question = ?", (hashed(question),)).fetchone()
                if row is not None:
                    found[question] = json.loads(row[0])
        return found

    def keep(self, answers: Mapping[str, Any]) -> None:
        """Keep answers by their questions."""
        if self.path is None or not answers:
            return
        with self._opened() as connection:
            rows = [(hashed(question), json.dumps(answer)) for question, answer in answers.items()]
            connection.executemany("insert or replace into answers values (?, ?)", rows)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """Context manager that opens the file and commits what was done in it."""
        try:
            connection = sqlite3.connect(str(self.path), timeout=60)
            try:
                with connection:
                    yield connection
            finally:
                connection.close()
        except (sqlite3.Error, ValueError) as error:
            raise FileError(f"`cache`: {str(self.path)!r} is no cache of answers, or cannot be written: {error}.") from error


def hashed(question: str) -> str:
    """Return the name of a question in the file."""
    return sha256(question.encode("utf-8", "surrogatepass")).hexdigest()
