"""Check docstrings, comments, messages and pages for words that the field does not use.

``python tools/check_language.py [PATHS]`` lists every place and ends with 1 if there is any. The vocabulary is that of
docs/glossary.md.
"""

from __future__ import annotations

import io
import re
import sys
import tokenize
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
PATHS = ("interpreto", "docs", "tools", "benchmarks", "examples", "README.md", "CONTRIBUTING.md")
WORDS = {
    r"\banswers? (?:a|an|the|its|their|for|with|in|as|what|logits|none|one)\b(?! question)": "return(s)",
    r"\b(?:is|are|was|were) answered\b": "is returned",
    r"\b(?:stands?|stood|standing) (?:for|in|behind|beside|under)\b(?! the city)": "represents, replaces, is",
    r"\bin front of\b": "before",
    r"\bbeside\b": "next to, compared with",
    r"(?:^|\"\"\")\s*Within[, ]": "Context manager that",
    r"(?:\"\"\")\s*(?:What|Whether|Which|How) ": "an imperative sentence (Return ...)",
    r"\bupper hal(?:f|ves)\b": "downstream of the split",
    r"\b(?:emptied|taken out) (?:unit|word|text|sentence)s?\b": "masked",
    r"\b(?:rows|tokens|texts|units|copies|passes) a (?:pass|text|token|row|unit|batch|sample|concept|target)\b": "per",
    r"\bcompan(?:y|ies)\b": "batch, other inputs",
    r"\bso many (?:rows|texts|units|tokens|passes|copies)\b": "a number of",
    r"\bcarr(?:y|ies) (?:its|their) own proof\b": "residual, standard error",
}
PATTERNS = [(re.compile(pattern, re.MULTILINE), advice) for pattern, advice in WORDS.items()]


def passages(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of strings and comments of Python files, or of the whole of another file without its code."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield 1, re.sub(r"^```.*?^```$", lambda block: "\n" * block[0].count("\n"), text, flags=re.DOTALL | re.MULTILINE)
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.STRING, tokenize.COMMENT):
            yield token.start[0], token.string


def files(paths: Sequence[str]) -> Iterator[Path]:
    """Yield the Python and Markdown files of paths, but this one."""
    for name in paths:
        path = ROOT / name
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (p for p in found if p.suffix in (".py", ".md") and p != Path(__file__).resolve())


def main(paths: Sequence[str]) -> int:
    """Print each finding; return how many there are, at most 1."""
    count = 0
    for path in files(paths or PATHS):
        for line, text in passages(path):
            for pattern, advice in PATTERNS:
                for match in pattern.finditer(text):
                    place = line + text[: match.start()].count("\n")
                    print(f"{path.relative_to(ROOT)}:{place}: {match[0].strip()!r}: say {advice}")
                    count += 1
    return min(count, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
