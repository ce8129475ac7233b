"""While it serves, a process seldom searches all its objects for garbage.  R-SVC-46; T24."""

import gc
from collections.abc import Generator

import pytest
from starlette.types import Receive, Scope, Send

from interlock_adapters.server import NOT_STARTED, serve

Seen = list[tuple[tuple[int, int, int], bool]]


@pytest.fixture
def usual() -> Generator[None]:
    """The collector as Python has it, and afterwards as it was."""
    before, enabled = gc.get_threshold(), gc.isenabled()
    gc.unfreeze()  # Python 3.12 itself begins with some objects that are.
    gc.enable()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)
    (gc.enable if enabled else gc.disable)()


def _seen_while_serving() -> Seen:
    seen: Seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "lifespan"
        await receive()
        seen.append((gc.get_threshold(), bool(gc.get_freeze_count())))
        # That is all that was to be seen.
        await send({"type": "lifespan.startup.failed", "message": ""})

    code: object
    try:
        code = serve(app, port=0, log_level="critical")
    except SystemExit as ended:  # so uvicorn 0.50 ends; those before return
        code = ended.code
    assert code == NOT_STARTED
    return seen


@pytest.mark.usefixtures("usual")
def test_what_was_there_before_is_not_searched_again() -> None:
    """And what comes is, in greater portions; afterwards all is as before.  Source: R-SVC-46."""
    assert _seen_while_serving() == [((10_000, 10, 10), True)]
    assert gc.get_threshold() == (700, 10, 10)
    assert not gc.get_freeze_count()


@pytest.mark.usefixtures("usual")
def test_what_an_interpreter_freezes_itself_is_nobodys_wish(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Python 3.12 begins with some.  Source: R-SVC-46; the tests on every Python."""
    frozen, freeze = [375], gc.freeze

    def freezes() -> None:
        freeze()
        frozen[0] = 100_000

    monkeypatch.setattr(gc, "get_freeze_count", lambda: frozen[0])
    monkeypatch.setattr(gc, "freeze", freezes)
    assert _seen_while_serving() == [((10_000, 10, 10), True)]
    # Now it is somebody's.
    assert _seen_while_serving() == [((700, 10, 10), True)]


@pytest.mark.usefixtures("usual")
def test_who_has_set_it_up_is_left_alone() -> None:
    """Off, or with more patience, is how somebody wants it.  Source: R-SVC-46."""
    gc.set_threshold(50_000, 5, 5)
    assert _seen_while_serving() == [((50_000, 5, 5), False)]
    gc.set_threshold(700, 10, 10)
    gc.disable()
    assert _seen_while_serving() == [((700, 10, 10), False)]
    assert not gc.isenabled()
