"""How Sphinx builds the documentation. Needs no network: nothing is fetched, nothing is linked from elsewhere."""

from importlib.metadata import version as installed_version

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

html_theme = "furo"
html_title = f"{project} {release}"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_copy_source = False
html_show_sphinx = False
