"""Which store a URL names: the engine's own, or that of a package."""

from importlib.metadata import entry_points
from typing import cast

from interlock._sqlite import SqliteStore
from interlock._store import MemoryStore, Store
from interlock.errors import InvalidInput


def store_at(url: str) -> Store:
    """The store that a URL names.

    `memory:` and `sqlite:///path`, without options, are the engine's own.  Any other scheme is
    that of a package which declares it (`interlock.stores`): `postgresql:` and `restate:` are
    there with the extras of those names.

    Raises:
        InvalidInput: it names none.
        ModuleNotFoundError: what the scheme needs is not installed; the message says what is.
    """
    if url == "memory:":
        return MemoryStore()
    scheme, found, path = url.partition("sqlite:///")
    if found and not scheme and path:
        if "?" in path:
            raise InvalidInput(["the store's URL has options ('?'); a plain path is accepted"])
        if path == ":memory:":
            raise InvalidInput([f"store {url!r} is no file; a store in memory is 'memory:'"])
        return SqliteStore(path)
    scheme, found, _ = url.partition("://")
    others = {other.name: other for other in entry_points(group="interlock.stores")}
    if found and scheme in others:
        return cast("Store", others[scheme].load()(url))
    known = ", ".join(
        ["'memory:'", "'sqlite:///path/to/file.db'", *(f"'{n}://...'" for n in others)]
    )
    # What stands before an @, or behind a ?, may hold a password.
    shown = url.rpartition("@")[2].partition("?")[0]
    raise InvalidInput([f"store {shown!r} is none of {known}"])
