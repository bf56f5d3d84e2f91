"""A text cut at its units, and at the targets of a generation."""

from __future__ import annotations

import pytest

from interpreto import KernelShap, Occlusion
from interpreto.visualizations import to_text
from interpreto.visualizations.reading import SAME_CHARACTER, Piece, answered, pieces, with_rows
from tests import tiny
from tests.visualizations.examples import film, generation


def test_classes_have_no_part_of_the_text():
    assert not answered(film()) and answered(generation("A film", [" b"]))


def test_units_and_targets_cut_each_other():
    cut = with_rows([Piece("a film "), Piece("was so", 0), Piece(" good")], [(7, 10), (10, 12), (12, 18)])
    assert cut == [
        *(Piece("a film "), Piece("was", 0, row=0), Piece(" s", 0, row=1)),
        *(Piece("o", 0, row=2), Piece(" good", None, row=2)),
    ]


def test_targets_without_characters_of_their_own_are_there():
    cut = with_rows([Piece("x"), Piece("é", 0)], [(1, 2), (1, 2), (2, 2)])
    assert [piece.row for piece in cut if piece.row is not None] == [0, 1, 2]
    assert [piece.text for piece in cut] == ["x", "é", SAME_CHARACTER, SAME_CHARACTER]


@pytest.mark.parametrize("family", ["llama", "gpt2", "t5", "bart"])
@pytest.mark.parametrize("asked", [{}, {"attribute_targets": False}, {"aggregate": "unit"}, {"aggregate": "sequence"}])
def test_every_row_of_a_generation_has_a_place(family, asked):
    model, tokenizer = {**tiny.CAUSAL_LMS, **tiny.SEQ2SEQ}[family]()
    for granularity in ("word", "token", "all_tokens"):
        output = Occlusion(model, tokenizer, granularity=granularity)("The film was", " 🎬 so good, é", **asked)[0]
        cut = with_rows(pieces(output), output.target_spans)
        assert "".join(piece.text for piece in cut if not piece.named) == "".join(p.text for p in pieces(output) if not p.named)
        assert {piece.row for piece in cut if piece.row is not None} == set(range(len(output.targets)))


def test_a_terminal_shows_the_sequence_first():
    model, tokenizer = tiny.CAUSAL_LMS["llama"]()
    output = KernelShap(model, tokenizer)("The film was", " good", attribute_targets=False)[0]
    lines = to_text(output, width=100, colour=False).split("\n")
    assert lines[0].startswith("good  ") and lines[1].endswith(" good") and "f(x)" in to_text(output, width=100, colour=False)
    assert not to_text(output, width=100, colour=False, target=1).startswith("good  ")
