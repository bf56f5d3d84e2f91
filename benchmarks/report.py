"""Time and size of a report on 1,000 labeled sentences: ``python -m benchmarks.report``."""

from __future__ import annotations

import time

import torch

from interpreto import demo, report

TEXTS = 1000


def main() -> None:
    """Print a section of ``RESULTS.md``."""
    model, tokenizer = demo.load_classifier()
    rated = [one for one in demo.load_sentences() if abs(one.score) > 0.5][:TEXTS]
    data = [(one.text, "positive" if one.score > 0 else "negative") for one in rated]
    wall, cpu = time.monotonic(), time.process_time()
    found = report(model, data, tokenizer)
    page = found.to_html()
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    faithfulness = "–" if found.faithfulness is None else f"{found.faithfulness[found.method, 'ABPC'].score:.3f}"
    print(
        f"\n# Report\n\n{len(data):,} labeled sentences of the embedded classifier, `interpreto.report` with its defaults, page"
    )
    print(f"included; torch {torch.__version__}, {torch.get_num_threads()} threads.\n")
    print("| method | wall time | CPU time | page | accuracy | ABPC of 200 texts |\n|---|---|---|---|---|---|")
    cells = [f"{wall:.0f} s", f"{cpu:.0f} s", f"{len(page) / 1e6:.2f} MB", f"{float(found.quality.accuracy):.3f}", faithfulness]
    print(f"| {' | '.join([found.method, *cells])} |")


if __name__ == "__main__":
    main()
