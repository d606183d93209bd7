"Sphinx settings; build.py calls it on a folder of prepared pages."
project, author, copyright = "ddpm-edu", "The ddpm-edu authors", "2026, the ddpm-edu authors"
extensions = ["myst_nb", "formulas"]
exclude_patterns = ["_notebooks"]
html_favicon = "_static/favicon.svg"
html_theme, html_title = "furo", "ddpm-edu"
html_static_path, html_css_files, templates_path = ["_static"], [
    "vendor/katex.min.css", "book.css"], []
html_copy_source = html_show_sourcelink = html_use_index = False
html_js_files = [("book.js", {"priority": 100})]
nb_execution_mode = "off"
nb_render_markdown_format = "myst"
nb_merge_streams = True                      # what a cell prints is one block
pygments_dark_style = "github-dark"
nb_ipywidgets_js = {}                        # panels.py has made HTML of the explorers
nb_code_prompt_show, nb_code_prompt_hide = "Show the code", "Hide the code"
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence"]
myst_heading_anchors = 4
myst_heading_slug_func = "slug.slug"
myst_dmath_double_inline = True
html_math_renderer = "katex"
