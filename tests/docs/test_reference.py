"""The reference is made of the code, and leaves nothing out.

R-DOCS-01 (public modules), R-DOCS-02 (commands), R-DOCS-03 (error codes), R-DOCS-04 (limits),
R-DOCS-05 (each name has one home), R-DOCS-06 (a site can be built of these, with texts for
programs), R-DOCS-07 (what the page of questions says of defaults).
"""

import ast
import importlib
import re
import sys
from collections.abc import Generator
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest
from pydantic import BaseModel

from doc_typist import ROOT
from interlock import Engine, Limits, Policy, TaskContext, errors
from interlock.errors import StoreLocked

EXT: Final = ROOT / "docs" / "_ext"
API: Final = ROOT / "docs" / "reference" / "api"
FAQ: Final = (ROOT / "docs" / "faq.md").read_text(encoding="utf-8")


@pytest.fixture
def ext(monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """The extensions of the site, importable."""
    had = {*sys.modules}
    monkeypatch.setattr(sys, "path", [str(EXT), *sys.path])
    yield EXT
    for name in {*sys.modules} - had:
        if str(EXT) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def tables(ext: Path) -> ModuleType:
    """What makes the tables."""
    assert ext.is_dir()
    return importlib.import_module("interlock_tables")


@pytest.fixture
def api(ext: Path) -> ModuleType:
    """What finds public names."""
    assert ext.is_dir()
    return importlib.import_module("interlock_api")


def public_modules() -> set[str]:
    """Every module without an underscore that says what is public in it, but for the demo."""
    found: set[str] = set()
    for root in (ROOT / "engine", ROOT / "adapters"):
        for path in root.rglob("*.py"):
            dotted = path.relative_to(root).with_suffix("").parts
            name = ".".join(dotted).removesuffix(".__init__")
            text = path.read_text(encoding="utf-8")
            is_told = "._" not in name and ".demo." not in name
            if is_told and re.search(r"^__all__ = ", text, re.MULTILINE):
                found.add(name)
    return found


def test_every_public_module_is_in_the_reference(api: ModuleType) -> None:
    """Once.  R-DOCS-01."""
    pages = "\n".join(page.read_text(encoding="utf-8") for page in API.glob("*.md"))
    documented = re.findall(r"^\.\. automodule:: (\S+)$", pages, re.MULTILINE)
    assert sorted(documented) == sorted(public_modules())
    assert sorted(api.MODULES) == sorted(public_modules())


def test_every_public_name_has_a_home(api: ModuleType) -> None:
    """In a module that makes it public.  R-DOCS-05."""
    for module in api.MODULES:
        for name in api.public(module):
            home, _, last = str(api.home_of(module, name)).rpartition(".")
            assert last in api.public(home), name
    assert api.home_of("interlock", "Limits") == "interlock.models.Limits"
    assert api.home_of("interlock.lifecycle", "Event") == "interlock.Event"


def test_every_command_and_option_is_on_the_page(tables: ModuleType) -> None:
    """As help has them.  R-DOCS-02."""
    page = tables.cli_page()
    assert page.count("\n## interlock ") + page.startswith("## ") == len(
        tables.commands(tables.cli._parser())
    )
    for name, parser in tables.commands(tables.cli._parser()).items():
        section = page.partition(f"## interlock {name}\n")[2].partition("\n## ")[0]
        for option in re.findall(r"--[a-z-]+", parser.format_help()):
            assert f"`{option}" in section or option == "--help", (name, option)


def test_every_error_has_a_code_of_its_own(tables: ModuleType) -> None:
    """And is in the table.  R-DOCS-03."""
    classes = [getattr(errors, name) for name in errors.__all__]
    ours = [one for one in classes if issubclass(one, errors.EngineError)]
    assert len({one.code for one in ours}) == len(ours)
    table = tables.error_table()
    assert all(f"| `{one.code}` |" in table for one in ours)


def test_every_limit_is_told_with_its_words(tables: ModuleType) -> None:
    """R-DOCS-04."""
    rows = {key: (default, words) for key, default, _, words in tables.limits()}
    names = {
        name for name in Limits.model_fields if not isinstance(getattr(Limits(), name), BaseModel)
    }
    assert names <= {key.strip("`") for key in rows}
    assert rows["`ask_s`"][0] == "`86400.0`"
    bare = [key for key, (_, words) in rows.items() if not words]
    assert all(key.startswith("`retry.") for key in bare), bare


PAGE: Final = """\
# A page

It speaks of [a program](hello.py) and of {py:class}`~interlock.policy.Policy`.

```{toctree}
:caption: Reference
:hidden:

api
limits
```
"""


@pytest.mark.filterwarnings("ignore")
def test_a_site_of_these_has_texts_for_programs(ext: Path, tmp_path: Path) -> None:
    """Without a warning, and what is made is in them as text.  R-DOCS-06."""
    from sphinx.application import Sphinx  # noqa: PLC0415

    assert ext.is_dir()
    (tmp_path / "index.md").write_text(PAGE, encoding="utf-8")
    (tmp_path / "hello.py").write_text("print('hello')\n", encoding="utf-8")
    (tmp_path / "limits.md").write_text("# Limits\n\n```{made} limits\n```\n", encoding="utf-8")
    module = "```{eval-rst}\n.. automodule:: interlock.policy\n   :members: Policy, When\n```\n"
    (tmp_path / "api.md").write_text(f"# API\n\n{module}", encoding="utf-8")
    settings = {
        "extensions": ["myst_parser", "sphinx.ext.autodoc", *(p.stem for p in EXT.glob("*.py"))],
        "source_suffix": {".md": "markdown", ".py": "program"},
        "default_role": "literal",
    }
    out = tmp_path / "out"
    site = Sphinx(
        tmp_path,
        None,
        out,
        out / "trees",
        "html",
        confoverrides=settings,
        status=None,
        warning=None,
    )
    site.build()
    assert site.statuscode == 0
    assert site._warncount == 0
    assert "hello.html" in (out / "index.html").read_text(encoding="utf-8")
    assert "- [Limits](limits.html)" in (out / "llms.txt").read_text(encoding="utf-8")
    full = (out / "llms-full.txt").read_text(encoding="utf-8")
    assert "| `ask_s` | `86400.0` |" in full
    assert "Whether whoever confirms may send other arguments." in full
    assert "automodule" not in full


# --- questions ----------------------------------------------------------------------------------


async def agent(task: TaskContext) -> str:
    """Do nothing."""
    return task.task_id


async def test_a_file_is_opened_once(tmp_path: Path) -> None:
    """As the page of questions says.  R-DOCS-07."""
    assert "The second gets `StoreLocked`" in FAQ
    url = f"sqlite:///{tmp_path}/tasks.db"
    async with Engine(agent, store=url):
        with pytest.raises(StoreLocked):
            await Engine(agent, store=url).start()


def test_the_page_of_questions_has_the_defaults() -> None:
    """And names of the API that there are.  R-DOCS-07."""
    limits = Limits()
    assert (limits.park_after_s, "`Limits.park_after_s` (5 s)" in FAQ) == (5, True)
    assert (limits.ask_s, "`Limits.ask_s`, a day" in FAQ) == (86_400, True)
    assert (limits.grace_s, "`Limits.grace_s` (10 s)" in FAQ) == (10, True)
    assert (limits.run_s, "`Limits.run_s` (an hour)" in FAQ) == (3_600, True)
    assert (limits.task_s, "`Limits.task_s` (a week)" in FAQ) == (7 * 86_400, True)
    assert (limits.retention.age_s, "purged 30 days after" in FAQ) == (30 * 86_400, True)
    assert (Policy().timeout_s, "`Policy.timeout_s`, 300 s" in FAQ) == (300, True)
    for name in re.findall(r"`task\.(\w+)", FAQ):
        assert hasattr(TaskContext, name), name
    for name in re.findall(r"`(?:await )?engine\.(\w+)", FAQ):
        assert hasattr(Engine, name), name


def test_modules_of_the_site_say_what_they_are_for() -> None:
    """Each with a docstring.  Source: R-PKG-06."""
    for path in [ROOT / "docs" / "conf.py", *EXT.glob("*.py")]:
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path
