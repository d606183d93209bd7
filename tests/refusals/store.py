"What reading and writing a folder refuses."
import errno
from pathlib import Path

from ddpm_edu import DDPMScheduler
from ddpm_edu.store import expand, own_file, read_json, staged_folder


def save(folder, error=None):
    with staged_folder(folder) as stage:
        (stage/"x.txt").write_text("new")
        if error is not None: raise error


def disk(number): return OSError(number, "what the system says")


def written(path, text):
    Path(path).write_text(text)
    return path


def linked(folder):
    (Path(folder)/"secret").touch()
    (Path(folder)/"model").mkdir()
    (Path(folder)/"model"/"link").symlink_to(Path(folder)/"secret")
    return Path(folder)/"model"


ROWS = [
    ("save(written('{tmp}/file', ''))", NotADirectoryError, ("it is a file", "name a folder")),
    ("save(written('{tmp}/file', '') + '/in/it')", OSError, "cannot save to"),
    ("save('{tmp}/new', disk(errno.ENOSPC))", OSError,
     ("cannot save to", "/new", "the disk is full", "make room", "is unchanged")),
    ("save('{tmp}/new', disk(errno.EROFS))", OSError, "the disk can only be read"),
    ("save('{tmp}/new', disk(errno.EACCES))", PermissionError, "you may not write there"),
    ("save('{tmp}/new', disk(errno.EFBIG))", OSError, "larger than is allowed"),
    ("read_json(written('{tmp}/a.json', '[1]'))", ValueError, ("a.json", "JSON object", "a list")),
    ("read_json(written('{tmp}/a.json', '{\"a\"'))", ValueError, ("a.json", "not valid JSON")),
    ("read_json(written('{tmp}/a.json', '['*10**5))", ValueError, ("a.json", "not valid JSON")),
    ("read_json(written('{tmp}/a.json', ' '*(2**24+1)))", ValueError,
     ("a.json", "at most 16,777,216")),
    ("read_json('{tmp}')", OSError, "cannot be read"),
    ("own_file(linked('{tmp}'), 'link')", ValueError, ("leads out of", "copy the file there")),
    ("own_file(linked('{tmp}'), '../secret')", ValueError, "leads out of"),
    ("own_file(linked('{tmp}'), '/etc/hostname')", ValueError, "leads out of"),
    ("expand('~nobody-has-this-name/x')", FileNotFoundError, ("begins with ~", "whole path")),
    ("DDPMScheduler().save_pretrained('')", TypeError, ("not empty", "got ''")),
    ("DDPMScheduler().save_pretrained(None)", TypeError, ("text or a Path", "got None")),
]
