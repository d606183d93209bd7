"Anchors of headings: one rule for the pages and for the links to them."
import re
from urllib.parse import unquote


def slug(heading):
    "`All steps at once: equation (4)` and JupyterLab's `All-steps-at-once:-equation-(4)` both become `all-steps-at-once-equation-4`."
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"\$[^$]*\$", " ", unquote(heading)).lower()).strip("-")
