"""Every refusal in one table: what is called, which error it gets, and words of its message.

The rows are in `refusals/`, a file a room. A call is evaluated with the names of its file; `{tmp}`
in it is replaced by the
path of a fresh folder. Notebooks show a refusal only where it is the idea of the passage."""
import importlib
import pkgutil
import warnings

import pytest

import refusals

rooms = [m.name for m in pkgutil.iter_modules(refusals.__path__)]
tables = {name: importlib.import_module(f"refusals.{name}") for name in rooms}
rows = [(room, *row) for room, module in tables.items() for row in module.ROWS]


def outcome(call, names, folder):
    "What the call raises, or None."
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        call = compile(call.replace("{tmp}", folder.as_posix()), "<refusal>", "eval")
        try: eval(call, dict(vars(names)))
        except Exception as error: return error
    return None


def problem(call, kind, words, names, folder):
    "Why this row does not hold, or an empty string."
    error = outcome(call, names, folder)
    if error is None: return "was not refused"
    if not isinstance(error, kind): return f"raised {type(error).__name__}: {error}"
    missing = [w for w in ([words] if isinstance(words, str) else words) if w not in str(error)]
    return f"the message lacks {missing}: {error}" if missing else ""


@pytest.mark.parametrize("room,call,kind,words", rows, ids=[f"{r[0]}-{r[1][:70]}" for r in rows])
def test_refused(room, call, kind, words, tmp_path):
    assert not (found := problem(call, kind, words, tables[room], tmp_path)), found


def test_rows_say_something():
    "Each row is there once, and asks for words that name something."
    calls = [row[:2] for row in rows]
    assert len(set(calls)) == len(calls)
    for _, call, _, words in rows:
        assert all(len(w) > 2 for w in ([words] if isinstance(words, str) else words)), call


def test_a_wrong_row_is_noticed(tmp_path):
    "Negative control: no error, another error, and other words."
    names = pkgutil
    assert problem("1 + 1", ValueError, "anything", names, tmp_path) == "was not refused"
    assert "ZeroDivisionError" in problem("1/0", ValueError, "anything", names, tmp_path)
    assert "lacks" in problem("int('x')", ValueError, "no such words", names, tmp_path)
    assert problem("int('x')", ValueError, ("invalid literal", "'x'"), names, tmp_path) == ""
