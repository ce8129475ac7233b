"""What a command line names as `MODULE:NAME`: an engine, an agent, a factory of one."""

from pathlib import Path
from types import ModuleType

from interlock_adapters.cli._common import NotFound, placed


def module_and_object(where: str) -> tuple[ModuleType, object]:
    """The module, and what it has by that name; modules of this directory are found.

    Raises:
        NotFound: there is none.
    """
    hint = "write MODULE:NAME, for instance shop.service:engine"
    if Path(where).suffix in {".yaml", ".yml"}:
        hint = (
            "a configuration names servers that a simulation has not; name a function that makes "
            "its engine with fakes, as tests.test_agent:engine of `interlock init`"
        )
    name, load = placed(where, hint)
    module = where.partition(":")[0]
    try:
        imported = load()
    except ImportError as error:
        raise NotFound(f"{where}: {error}") from None
    except Exception as error:
        raise NotFound(f"{where}: {module} raises {type(error).__name__}: {error}") from error
    found: object = imported
    for part in name.split("."):
        if not hasattr(found, part):
            names = ", ".join(sorted(n for n in vars(imported) if not n.startswith("_")))
            raise NotFound(f"{where}: {module} has no {name}; it has {names or 'nothing'}")
        found = getattr(found, part)
    return imported, found
