"""What a chapter must keep to: `python tests/book_rules.py [notebooks]` measures, and lists claims.

A claim is a sentence of the prose that holds a number (or "twice", "half as"). It needs a cell that
executes it, which says so: `# claims: a fragment of the sentence`. A folded answer is a claim too:
`# claims: answer 1`. Numbers of equations, chapters, years and sizes are no claims."""
import re
import sys
from pathlib import Path

from house_rules import cells, code_cells, root, source_of

CHAPTERS = sorted((root/"nbs").glob("[0-9]*.ipynb"))

NAMES = ("equations?|eqs?\\.?|chapters?|sections?|figures?|figs?\\.?|tables?|algorithms?|appendix|"
         "appendices|exercises?|answers?|lines?|app\\.|python|torch|version|issue|page|part")
NO_CLAIM = [
    r"\$\$.*?\$\$", r"\$[^$]*\$", r"`[^`]*`",            # formulas and code
    r"^\s*\**\d+\.(\*\*| |$)", r"\[-?\d, ?\d\]",        # of exercises and lists; intervals
    rf"\b({NAMES})\s+\(?[A-Z]?\d*[\d.]*\)?((,| and| to|, and) \(?[A-Z]?[\d.]+\)?)*",
    r"\((\d+|[A-Z]\d*)\)((,| and| to) \(\d+\))*",        # (5), (8) to (10)
    r"\b(19|20)\d\d\b",                                  # years
    r"\b(float|int|uint|bf|fp|cifar-?|complex)\d+\b", r"\b\d+-(bit|D)\b",     # kinds of numbers
    r"\b\d+ ?[x×] ?\d+( ?[x×] ?\d+)*\b",                 # sizes
    r"\b[A-Z]+\d+\b",                                    # D3, SHA256
]
NUMBER = r"\d|%|\btwice\b|\bhalf (as|of)\b|\btimes (as|more|less|fewer|faster|slower|larger)\b"


def plain(text):
    "Without emphasis and line breaks, to compare a sentence with a claim."
    return " ".join(re.sub(r"\*\*|(?<!\w)[*_]|[*_](?!\w)", "", text).lower().split())


def paragraphs(text):
    "What of a markdown cell is prose: no headings, tables, references and displayed code."
    text = re.sub(r"```.*?```|<svg.*?</svg>|<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r"\$\$.*?\$\$", "", text, flags=re.S)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)              # a link is its text
    text = re.sub(r"<summary>.*?</summary>|</?[a-z][^>]*>", "\n\n", text, flags=re.S)
    parts = re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", text)
    return [p for p in parts if p.strip() and not re.match(r"\s*(#|>|\||\*\*References)", p)]


def prose(path):
    "The cells of text of a notebook."
    return [source_of(c) for c in cells(path) if c["cell_type"] == "markdown"]


def sentences(path):
    "All sentences of the prose of a notebook."
    split = r"(?<=[.!?])\s+(?=[A-Z\[`$*(])"
    return [s for t in prose(path) for p in paragraphs(t) for s in re.split(split, p.strip())]


def has_number(sentence):
    for pattern in NO_CLAIM: sentence = re.sub(pattern, " ", sentence, flags=re.I | re.M)
    return bool(re.search(NUMBER, sentence, re.I))


def claims(path):
    "What the cells of a notebook say that they execute."
    code = "\n".join(text for _, text in code_cells(path))
    return [plain(m) for m in re.findall(r"^# claims: (.+)", code, re.M)]


def unproved(path):
    "Sentences with a number, and folded answers, that no cell executes."
    said = claims(path)
    numbers = [s for s in sentences(path) if has_number(s)]
    left = [s for s in numbers if not any(c in plain(s) for c in said)]
    answers = sum(text.count("<summary>Answer") for text in prose(path))
    return left + [f"answer {n}" for n in range(1, answers+1) if f"answer {n}" not in said]


def idle(path):
    "Claims that belong to no sentence: the sentence was changed, or the claim is misspelt."
    text = [plain(s) for s in sentences(path)]
    return [c for c in claims(path) if not re.fullmatch(r"answer \d+", c)
            and not any(c in s for s in text)]


def is_export(text): return bool(re.match(r"(#\|.*\n)*#\| *exports?\b", text))


def is_shown(cell):
    "Is a code cell on display: neither left out of the site nor folded?"
    hidden = cell["metadata"].get("jupyter", {}).get("source_hidden", False)
    left_out = r"^#\| *(hide|default_exp|code-fold: *true)"
    return not hidden and not re.search(left_out, source_of(cell), re.M)


def measure(path):
    "Words a code cell on display, share of checks of its lines, longest check, lines."
    shown = [source_of(c) for c in cells(path) if c["cell_type"] == "code" and is_shown(c)]
    text = re.sub(r"\$\$.*?\$\$|\$[^$]*\$", "", " ".join(prose(path)), flags=re.S)
    words = len(re.findall(r"[A-Za-z]{2,}", text))
    lines = sum(len(s.splitlines()) for s in shown)
    checks = [len(s.splitlines()) for s in shown
              if not is_export(s) and re.search(r"^\s*assert |\btest_\w+\(", s, re.M)]
    return dict(words_a_cell=words/max(1, len(shown)), checks=sum(checks)/max(1, lines),
                longest_check=max(checks, default=0), lines=lines, cells=len(shown))


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:] or CHAPTERS):
        m = measure(path)
        print(f"{path.name}: {m['words_a_cell']:.0f} words a cell, {m['checks']:.0%} of the lines "
              f"on display are checks, the longest has {m['longest_check']} lines; "
              f"{m['lines']} lines in {m['cells']} cells")
        for sentence in unproved(path): print("   no check:", " ".join(sentence.split()))
        for claim in idle(path): print("   no such sentence:", claim)
