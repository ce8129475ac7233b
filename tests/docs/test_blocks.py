"""Every block of code that the documentation shows is run or checked, or says why it is not.

R-DOCS-10 (all pages), R-DOCS-11 (no block that nobody runs), R-DOCS-12 (the bound of what is not
run), R-DOCS-13 (a block that does not do what the page says is found).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from doc_blocks import Block, blocks_on
from doc_typist import ROOT, Typist, Wrong, shows

#: Pages whose blocks a test of their own runs, with more than a reader would see: that test, and
#: the languages that it runs.  "" is a block that is only indented.
ELSEWHERE: Final[Mapping[str, tuple[str, frozenset[str]]]] = {
    "docs/service.md": (
        "tests/adapters/service/test_service_docs.py",
        frozenset({"console", "yaml", "python"}),
    ),
    "docs/scale.md": (
        "tests/adapters/service/test_shared_docs.py",
        frozenset({"console", "yaml", "python"}),
    ),
    "docs/fuzzing.md": (
        "tests/unit/test_fuzz_docs.py",
        frozenset({"console", "yaml", "python", ""}),
    ),
    "docs/howto/deploy.md": (
        "tests/adapters/service/test_deploy_docs.py",
        frozenset({"console", "yaml", "ini", "nginx", "caddy", "python", "text"}),
    ),
    "docs/howto/migrate.md": (
        "tests/adapters/service/test_migrate_docs.py",
        frozenset({"python", "yaml", "json"}),
    ),
    "README.md": ("tests/unit/test_readme.py", frozenset({"python", "mermaid"})),
}
#: Its commands are examples of many things; there is nothing that they could run on.
NO_STORY: Final = frozenset({"README.md"})
#: How many blocks may say that they are not run.  Before you raise it, ask whether they can be.
NOT_RUN_MAX: Final = 12


def pages() -> list[Path]:
    """Everything that is written for users."""
    written = (page for page in (ROOT / "docs").rglob("*.md") if "_build" not in page.parts)
    return [ROOT / "README.md", *sorted(written)]


def name_of(page: Path) -> str:
    """As it is called in this repository."""
    return page.relative_to(ROOT).as_posix()


def is_elsewhere(block: Block) -> bool:
    """Whether another test runs it."""
    _, languages = ELSEWHERE.get(name_of(block.page), ("", frozenset[str]()))
    return block.language in languages


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_the_page_does_what_it_says(page: Path, tmp_path: Path) -> None:
    """From top to bottom.  R-DOCS-10, R-DOCS-11."""
    typist = Typist(tmp_path, is_story=name_of(page) not in NO_STORY)
    with typist.reading():
        for block in blocks_on(page):
            if block.reason is None and not is_elsewhere(block):
                typist.type_in(block)


@pytest.mark.parametrize("page", ELSEWHERE)
def test_the_test_of_a_page_reads_it(page: str) -> None:
    """And does not skip what it says it runs.  R-DOCS-11."""
    test, languages = ELSEWHERE[page]
    text = (ROOT / test).read_text(encoding="utf-8")
    assert Path(page).name in text
    assert all(f'"{language}"' in text for language in languages if language)


def test_few_blocks_are_not_run() -> None:
    """Each with a reason.  R-DOCS-12."""
    left = [block for page in pages() for block in blocks_on(page) if block.reason is not None]
    told = "\n".join(f"{block.place}: {block.reason}" for block in left)
    print(f"{len(left)} blocks are not run\n{told}")  # noqa: T201
    assert all(block.reason for block in left), told
    assert len(left) <= NOT_RUN_MAX, told


# --- does it find what is wrong? --------------------------------------------------------------


def typed(page: str, folder: Path) -> None:
    """Type in a page."""
    path = folder / "page.md"
    path.write_text(page, encoding="utf-8")
    typist = Typist(folder)
    with typist.reading():
        for block in blocks_on(path):
            typist.type_in(block)


GOOD: Final = """\
```python
# hello.py
WORD = "hello"
```

```python
import hello

print(hello.WORD)
```

```text
hello
```

* in a list:

  ```console
  $ python -c 'import hello; print(hello.WORD, 1.5, "s"); print("and more")'
  hello 0.1 s
  ...
  $ touch a \\
      b
  $ pip install 'interlock[all]'
  ```

```yaml
server: {port: 1}
```
"""


def test_a_page_that_is_right_passes(tmp_path: Path) -> None:
    """Files, programs, their output, commands and a configuration.  R-DOCS-13."""
    typed(GOOD, tmp_path)
    assert (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("right", "wrong", "why"),
    [
        ("hello.WORD)\n```", "hello.WORT)\n```", "AttributeError"),
        ("```text\nhello", "```text\nhallo", "nothing above printed this"),
        ("  hello 0.1 s", "  hello 0.1 m", "is shown as"),
        ("touch a", "cat a", "fails with 1"),
        ("touch a", "sudo a", "nobody can run"),
        ("[all]", "[al]", "there is no extra al"),
        ("{port: 1}", "{part: 1}", "part"),
        ("```yaml", "```cobol", "nobody runs a block of 'cobol'"),
        ("  $ python", "  python", "is the output of no command"),
    ],
)
def test_what_is_wrong_on_a_page_is_found(right: str, wrong: str, why: str, tmp_path: Path) -> None:
    """With its place.  R-DOCS-13."""
    assert right in GOOD
    with pytest.raises(Wrong, match=why) as caught:
        typed(GOOD.replace(right, wrong), tmp_path)
    assert str(caught.value).startswith("page.md:")


def test_a_marker_counts_only_right_before_its_block(tmp_path: Path) -> None:
    """And a directive is no code.  R-DOCS-12."""
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- not run: it needs a moon -->\n```console\n$ fly\n```\n\n"
        "<!-- not run: no -->\n\nWords.\n\n```console\n$ ls\n```\n\n"
        "```{toctree}\npage\n```\n\n    indented\n",
        encoding="utf-8",
    )
    found = [(block.language, block.line, block.reason) for block in blocks_on(page)]
    assert found == [
        ("console", 3, "it needs a moon"),
        ("console", 11, None),
        ("", 18, None),
    ]


def test_output_is_compared_as_a_whole() -> None:
    """But for ids, times, and what is left out.  R-DOCS-13."""
    said = "task 0123456789abcdef0123456789abcdef is\nrunning, 3.5 s\nand more\n"
    assert shows(said, "task ffffffffffffffffffffffffffffffff is\nrunning, 1 s\nand more")
    assert shows(said, "task ...\n...")
    assert not shows(said, "task ... is")
    assert not shows(said, "...\nand less")
