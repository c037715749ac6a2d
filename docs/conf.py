"""How Sphinx builds the documentation. Needs no network: nothing is fetched, nothing is linked from elsewhere."""

from importlib.metadata import version as installed_version

from docutils import nodes
from sphinx.application import Sphinx

project = "pybreaker_ext"
author = "The pybreaker_ext developers"
project_copyright = "2026, the pybreaker_ext developers"
release = version = installed_version("pybreaker-ext")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

# Docstrings write `code` with single backticks, as the rest of the documentation does.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
maximum_signature_line_length = 100
napoleon_use_ivar = True

# Headings can be linked to, and a link to one that isn't there is a warning.
myst_heading_anchors = 3

# What `-b linkcheck` asks: addresses in examples are nobody's, and a busy site is asked again.
linkcheck_ignore = [r"https?://(localhost|127\.0\.0\.1)"]
linkcheck_timeout = 20
linkcheck_retries = 3
linkcheck_report_timeouts_as_broken = True

html_theme = "furo"
html_title = f"{project} {release}"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_copy_source = False
html_show_sphinx = False


def setup(app: Sphinx) -> None:
    """Have a function's own arguments shown by the names that the source gives them."""
    app.connect("object-description-transform", tidy_signature)


def tidy_signature(_app: Sphinx, _domain: str, _kind: str, content: nodes.Element) -> None:
    """Replace what Sphinx makes of a ParamSpec's two halves in overloads."""
    for text in list(content.parent.findall(nodes.Text)):
        tidy = text.replace("*args: ~typing.~P", "*args: P.args").replace("**kwargs: ~typing.~P", "**kwargs: P.kwargs")
        if tidy != text:
            text.parent.replace(text, nodes.Text(tidy))
