"""`llms.txt` and `llms-full.txt`: what there is to read, and all of it, as plain text.

The pages as they were written, in Markdown, and those of the API as text.  `sphinx-llms-txt` copies
the sources of pages: of one that is made from docstrings that is a directive, hence this.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from interlock_tables import in_markdown
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.builders.text import TextBuilder
from sphinx.environment import BuildEnvironment
from sphinx.util.typing import ExtensionMetadata
from sphinx.writers.text import TextTranslator

HEAD: Final = """\
# Interlock

> An embeddable task engine for AI agents (Python 3.11 and newer): every task lives on one declared
> finite-state machine, durably. It asks people, waits without holding anything, goes on after a
> crash, and speaks A2A and MCP.

All of these pages in one file: llms-full.txt
"""


def groups(env: BuildEnvironment) -> Iterator[tuple[str, list[str]]]:
    """The groups of the list of contents, each with all of its pages."""
    for tree in env.get_doctree(env.config.root_doc).findall(addnodes.toctree):
        yield tree["caption"] or "More", [*_within(env, tree["includefiles"])]


def _within(env: BuildEnvironment, names: list[str]) -> Iterator[str]:
    for name in names:
        yield name
        yield from _within(env, env.toctree_includes.get(name, []))


def text_of(app: Sphinx, name: str) -> str:
    """A page as text: its source, or what is made of docstrings."""
    path = Path(app.env.doc2path(name))
    text = path.read_text(encoding="utf-8")
    if "automodule::" not in text:
        return in_markdown(text)
    document = app.env.get_doctree(name)
    for name_shown in [*document.findall(addnodes.pending_xref_condition)]:
        is_short = name_shown["condition"] == "resolved"
        name_shown.parent.replace(name_shown, name_shown.children if is_short else [])
    builder = TextBuilder(app, app.env)
    builder.init()
    translator = TextTranslator(document, builder)
    document.walkabout(translator)
    return str(translator.body)


def write(app: Sphinx, failure: Exception | None) -> None:
    """Write both files beside the pages."""
    if failure is not None or app.builder.name != "html":
        return
    short, full = [HEAD], [HEAD]
    for caption, names in groups(app.env):
        short.append(f"## {caption}\n")
        for name in names:
            title = app.env.titles[name].astext()
            short.append(f"- [{title}]({app.builder.get_target_uri(name)})")
            full.append(
                f"---\npage: {app.builder.get_target_uri(name)}\n---\n\n{text_of(app, name)}"
            )
        short.append("")
    (app.outdir / "llms.txt").write_text("\n".join(short), encoding="utf-8")
    (app.outdir / "llms-full.txt").write_text("\n".join(full), encoding="utf-8")


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the hook."""
    app.connect("build-finished", write)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
