"The shape of the chapters: every number has a check, the idea is on display and the walls are not."
import json

import pytest

import book_rules
from book_rules import CHAPTERS, has_number, idle, measure, sentences, unproved

names = [p.stem for p in CHAPTERS]


def in_shape(path):
    m = measure(path)
    return m["words_a_cell"] >= 60 and m["checks"] <= 0.25 and m["longest_check"] <= 12


@pytest.mark.parametrize("path", CHAPTERS, ids=names)
def test_every_number_and_every_answer_is_executed(path):
    assert unproved(path) == []


@pytest.mark.parametrize("path", CHAPTERS, ids=names)
def test_every_claim_belongs_to_a_sentence(path):
    assert idle(path) == []


@pytest.mark.parametrize("path", CHAPTERS, ids=names)
def test_ideas_are_on_display_and_walls_of_checks_are_not(path):
    assert in_shape(path), measure(path)


@pytest.fixture
def page(tmp_path):
    "A small notebook with one sentence to prove, and a folded answer."
    def write(*code):
        text = ("Ten are few.\n\nThe *gap* is 3 bits at `t = 5` in $x_0$, see (4), chapter 2 and "
                "2020. It falls.\n\n<details><summary>Answer</summary>It is so.</details>")
        markdown = dict(cell_type="markdown", source=text, metadata={})
        cells = [dict(cell_type="code", source=s, metadata={}, outputs=[]) for s in code]
        path = tmp_path/"page.ipynb"
        path.write_text(json.dumps(dict(cells=[markdown, *cells])))
        return path
    return write


def test_a_number_without_a_check_is_found(page):
    bare = page("x = 1")
    assert unproved(bare)[0].startswith("The *gap* is 3 bits") and unproved(bare)[1] == "answer 1"
    assert len(unproved(bare)) == 2 and len(sentences(bare)) == 4
    full = page("# claims: the gap is 3 bits\nassert 1", "# claims: answer 1\nassert 1")
    assert unproved(full) == [] == idle(full)
    wrong = page("# claims: the gap is 4 bits\n# claims: answer 1")
    assert len(unproved(wrong)) == 1 and idle(wrong) == ["the gap is 4 bits"]


@pytest.mark.parametrize("sentence", [
    "With 50 steps it is worse.", "A third costs 80 %.", "It takes twice the time.",
    "The error is 0.3.", "One of 256 values."])
def test_numbers_are_seen(sentence): assert has_number(sentence)


@pytest.mark.parametrize("sentence", [
    "By (4) and chapter 3 it holds.", "In $[0, 1]$ and `x[3]`.", "Ho et al., 2020, section 3.2.",
    "Images of 28x28 in float32.", "**2.** Write it.", "Algorithm 2, lines 3 and 4."])
def test_references_are_no_numbers(sentence): assert not has_number(sentence)


def test_folded_cells_are_not_on_display(page):
    path = page("assert 1\n"*30, "x = 1")
    assert measure(path)["longest_check"] == 30
    nb = json.loads(path.read_text())
    nb["cells"][1]["metadata"] = {"jupyter": {"source_hidden": True}}
    path.write_text(json.dumps(nb))
    assert measure(path)["longest_check"] == 0 and book_rules.measure(path)["cells"] == 1
