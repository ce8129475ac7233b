"""Programs as pages: a link to `examples/payment.py` leads to its text, with colours."""

from pathlib import PurePosixPath

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.parsers import Parser
from sphinx.util.typing import ExtensionMetadata


class ProgramParser(Parser):
    """A file of Python: its path is the title, and the whole of it is one block."""

    supported = ("program",)

    def parse(self, inputstring: str, document: nodes.document) -> None:
        """Make the page."""
        env: BuildEnvironment = document.settings.env
        path = PurePosixPath(env.docname).with_suffix(".py")
        page = nodes.section(ids=[nodes.make_id(str(path))])
        page += nodes.title("", "", nodes.literal("", str(path)))
        page += nodes.literal_block(inputstring, inputstring, language="python")
        # No list of contents leads to a program; pages that speak of it do.
        env.metadata[env.docname]["orphan"] = ""
        document += page


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the parser."""
    app.add_source_parser(ProgramParser)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
