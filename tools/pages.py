"""Write under each Python block of the guides what it prints today: ``python tools/pages.py docs/guides/methods.md``.

`tests/test_guides.py` checks that pages say what their blocks print; after a change of methods or numbers, this writes it. Read
the text around the blocks again afterwards.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests import tiny  # noqa: E402
from tests.test_guides import FENCE, OURS, alike  # noqa: E402


def renewed(text: str, name: str) -> str:
    """Return the page with its outputs; those that still say the same are left as they are."""
    language_model, its_tokenizer = tiny.chat_lm()
    scope: dict = {"language_model": language_model, "its_tokenizer": its_tokenizer, "__name__": "page"}
    parts, here, fences = [], 0, list(FENCE.finditer(text))
    for fence, under in zip(fences, [*fences[1:], None], strict=True):
        if fence[1] != "python":
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(fence[2], name, "exec"), scope)
        has = under is not None and under[1] == "text" and not text[fence.end() : under.start()].strip()
        if has and under is not None and not alike(printed.getvalue(), under[2]):
            parts += [text[here : under.start()], f"```text\n{_trimmed(printed.getvalue())}```"]
            here = under.end()
        elif not has and printed.getvalue():
            parts += [text[here : fence.end()], f"\n\n```text\n{_trimmed(printed.getvalue())}```"]
            here = fence.end()
    return "".join([*parts, text[here:]])


def _trimmed(printed: str) -> str:
    return re.sub(r"[ \t]+$", "", printed, flags=re.MULTILINE)


def main(names: list[str]) -> None:
    for name in names or OURS:
        path = (ROOT / name).resolve()
        before = path.read_text(encoding="utf-8")
        home = os.getcwd()
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)  # blocks may write files
            after = renewed(before, name)
            os.chdir(home)
        path.write_text(after, encoding="utf-8")
        print(f"{name}: {'as it was' if after == before else 'renewed'}")


if __name__ == "__main__":
    main(sys.argv[1:])
