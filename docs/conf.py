"""Builds the documentation: `make docs`.

The source of the site is the whole repository and not this folder alone: the pages of `specs/` and
the programs of `examples/` are pages of it where they are, so a link from one file to another is
the same on the site and where the files are read as they are.  Nothing is fetched.
"""

import re
import sys
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Final

from docutils import nodes
from sphinx.application import Sphinx

_ROOT: Final = Path(__file__).parents[1]
sys.path[:0] = [str(_ROOT / "docs" / "_ext"), str(_ROOT / "engine"), str(_ROOT / "adapters")]

project = "Interlock"
author = "The authors of Interlock"
project_copyright = f"{author}, Apache-2.0"
version = release = version_of("interlock")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "interlock_api",
    "interlock_tables",
    "program_pages",
    "llms_txt",
]
root_doc = "docs/index"
_PAGES: Final = ("docs", "specs")
_LINK: Final = re.compile(r"\]\((\.\./[^)#]+\.py)\)")


def _programs() -> set[str]:
    """The files of Python that a page leads to: each becomes a page."""
    linked = (
        (page.parent / target).resolve().relative_to(_ROOT).as_posix()
        for folder in _PAGES
        for page in (_ROOT / folder).rglob("*.md")
        for target in _LINK.findall(page.read_text(encoding="utf-8"))
    )
    return set(linked)


include_patterns = [*(f"{folder}/**.md" for folder in _PAGES), *sorted(_programs()), "CHANGELOG.md"]
exclude_patterns = [".*", "**/.*", "**/__pycache__", "docs/_*", "bench", "tests"]
source_suffix = {".md": "markdown", ".py": "program"}

nitpicky = True
nitpick_ignore_regex = [
    # Documented elsewhere, and nothing is fetched, so there is no inventory to look in.
    (
        r"py:.*",
        r"(asyncio|collections|concurrent|contextlib|contextvars|datetime|enum|logging|os|pathlib)\..*",
    ),
    (r"py:.*", r"(socket|ssl|types|typing)\..*"),
    (r"py:.*", r"(a2a|a2a_pb2|fastapi|grpc|httpx|hypothesis|mcp|mcp_types|opentelemetry)\..*"),
    (r"py:.*", r"(pydantic|smolagents|starlette|transitions|ASGIApp)(\..*)?"),
    # Aliases of types that no module makes public, and errors of libraries as docstrings say them.
    (
        r"py:class",
        r"(SyncAgent|GeneratorAgent|AsyncAgent|UserOf|Quotas|interlock\.policy\.Decided)",
    ),
    (r"py:exc", r"(TargetRefused|UnsupportedOperationError|ValidationError)"),
    # Variables of types.
    (r"py:.*", r"interlock.*\.[A-Z]"),
    # Classes without a public name that an annotation shows: nobody makes one, or needs its name.
    (r"py:.*", r"interlock(_adapters)?\.(\w+\.)*_\w+\..*"),
]

# The docstrings of this repository write code in single backticks, as Markdown does.
default_role = "literal"
autodoc_member_order = "groupwise"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True}
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 90
add_module_names = False

myst_heading_anchors = 4
myst_enable_extensions = ["deflist", "colon_fence"]
suppress_warnings = ["myst.xref_ambiguous"]

html_theme = "furo"
html_title = f"Interlock {release}"
html_static_path = ["_static"]
html_extra_path = ["_root"]  # leads from the top to the first page
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}


def _is_listed(app: Sphinx, _doctree: nodes.document) -> None:
    """Decisions are on a list of their own, and programs are led to by pages that speak of them."""
    if app.env.docname.startswith("specs/decisions/0"):
        app.env.metadata[app.env.docname]["orphan"] = ""


def setup(app: Sphinx) -> None:
    """Hook in."""
    app.connect("doctree-read", _is_listed)
