"""Sphinx configuration: ``make docs`` builds docs/_build/html, and a warning is an error."""

from __future__ import annotations

import asyncstore

project = "asyncstore"
author = "the asyncstore authors"
copyright = f"2026, {author}"  # noqa: A001 - Sphinx's name for it
version = release = asyncstore.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"asyncstore {version}"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

default_role = "py:obj"  # `name` in a docstring links to what it names, where that is documented
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_maximum_signature_line_length = 88
