"Anchors of headings: one rule for the pages and for the links to them."
import re
from urllib.parse import unquote


def slug(heading):
    """The anchor of a heading, or of a link to it as JupyterLab writes it.

    `All steps at once: equation (4)` and `All-steps-at-once:-equation-(4)` both become
    `all-steps-at-once-equation-4`."""
    words = re.sub(r"\$[^$]*\$", " ", unquote(heading)).lower()
    return re.sub(r"[^a-z0-9]+", "-", words).strip("-")
