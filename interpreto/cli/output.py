"""Files that a command writes: checked before anything is computed, written at the end, and shown on request."""

from __future__ import annotations

import importlib.util
import json
import tempfile
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interpreto.cli.arguments import Arguments
from interpreto.errors import OptionError
from interpreto.storage import check_writable, replacing
from interpreto.validation import shown

NAMED = {"html": ".html", "json": ".json", "csv": ".csv"}
"""Endings of the files that options of their own name."""
NEEDS = {".csv": ("pandas",), ".parquet": ("pandas", "pyarrow")}
"""Packages that files of an ending need."""

Writer = Callable[[Path], object]


@dataclass(frozen=True)
class Outputs:
    """The files that a command was asked for, by their kind.

    Attributes:
        files: Endings and paths.
        opens: Show the page in the browser.
    """

    files: Sequence[tuple[str, Path]]
    opens: bool = False

    def write(self, writers: Mapping[str, Writer]) -> None:
        """Write each file by the function of its ending; show the page, which goes to a temporary file if it has none."""
        pages = []
        for ending, path in self.files:
            writers[ending](path)
            pages += [path] if ending == ".html" else []
        if self.opens:
            show(pages[0] if pages else _temporary(writers[".html"]))


def read_outputs(arguments: Arguments, endings: Sequence[str], tables: bool = False) -> Outputs:
    """Return the files that the arguments ask for.

    Args:
        arguments: Those of the command.
        endings: Kinds of files that it writes.
        tables: Its tables need pandas.

    Raises:
        OptionError: A file's name ends in something else, or its kind needs a package that is not installed.
        FileError: There is no such folder.
    """
    files = []
    for flag, ending in NAMED.items():
        path = getattr(arguments, flag, None)
        if path is not None:
            files.append((ending, check_writable(path, f"--{flag}")))
    for path in arguments.output or ():
        ending = ".html" if Path(path).suffix.lower() == ".htm" else Path(path).suffix.lower()
        if ending not in endings:
            raise OptionError(f"`--output`: got {shown(path)}; pass a name that ends in {', '.join(endings)}.")
        files.append((ending, check_writable(path, "--output")))
    for ending, path in files if tables else ():
        for package in NEEDS.get(ending, ()):
            if importlib.util.find_spec(package) is None:
                raise OptionError(f"{str(path)!r} needs {package}; run `pip install {package}`.")
    return Outputs(files, arguments.open_page)


def write_json(content: Any, path: Path) -> None:
    """Write JSON; a file that was there is replaced only once the new one is complete."""
    text = json.dumps(content, ensure_ascii=False, indent=1)
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def show(page: Path) -> None:
    """Show a page in the browser, and say where it is."""
    print(f"page: {page}")
    webbrowser.open(page.resolve().as_uri())


def _temporary(writer: Writer) -> Path:
    path = Path(tempfile.mkdtemp(prefix="interpreto-"), "page.html")
    writer(path)
    return path
