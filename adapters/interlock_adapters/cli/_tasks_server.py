"""Tasks behind a server, through its management API."""

import os
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import quote, urlsplit

from interlock_adapters._callers.access import PAGE_MAX
from interlock_adapters._http.asgi import PROBLEM_JSON
from interlock_adapters._http.origin import LOOPBACK
from interlock_adapters._http.paths import MANAGE
from interlock_adapters.cli._tasks_desk import DeskError, Json, Tell, Wanted

try:
    import httpx
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "a server is reached with the service extra: pip install 'interlock[service]'",
        name=_missing.name,
    ) from _missing

#: The variable that has the token: a command line is seen by everybody on the machine.
TOKEN: Final = "INTERLOCK_TOKEN"  # noqa: S105  its name
#: Seconds for one answer.
ANSWER_S: Final = 60.0
#: Bytes of a token's file, at most.
_TOKEN_BYTES_MAX: Final = 16_384


def server_url(text: str) -> str:
    """Where the management API is, by the address of a service.

    Raises:
        ValueError: it is none.
    """
    accepted = "an address is accepted, as http://127.0.0.1:8000"
    try:
        parts = urlsplit(text)
        is_one = parts.port != 0 and httpx.URL(text).is_absolute_url
    except (ValueError, httpx.InvalidURL):
        raise ValueError(accepted) from None
    if not is_one or parts.scheme not in {"http", "https"} or not parts.hostname or parts.query:
        raise ValueError(accepted)
    if "@" in parts.netloc:
        raise ValueError(f"a token goes into {TOKEN} or --token-file, never into the address")
    path = parts.path.rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path or MANAGE}"


def token_of(file: Path | None, environ: Mapping[str, str] = os.environ) -> str | None:
    """The token of the file, and otherwise of the environment.

    Raises:
        DeskError: the file cannot be read, or what is there is no token.
    """
    if file is None:
        token = environ.get(TOKEN, "").strip()
    else:
        try:
            with file.open("rb") as opened:
                token = opened.read(_TOKEN_BYTES_MAX).decode("ascii").strip()
        except OSError as error:
            raise DeskError(f"{file} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise DeskError(f"{file} has no token: one line of letters is accepted") from None
        if not token:
            raise DeskError(f"{file} has no token: one line of letters is accepted")
    if not token:
        return None
    if not token.isascii() or not token.isprintable() or " " in token:
        raise DeskError(f"what is in {file or TOKEN} is no token: one line of letters is accepted")
    return token


class ServerDesk:
    """Does it through the management API."""

    when = "now"

    def __init__(self, url: str, token: str | None, *, in_clear: bool = False) -> None:
        """Reach the API at `url`.

        Raises:
            DeskError: the token would go over the network for everybody to read.
        """
        parts = urlsplit(url)
        if token and parts.scheme == "http" and parts.hostname not in LOOPBACK and not in_clear:
            raise DeskError(
                "a token over http can be read on its way; https is accepted, or --in-clear where "
                "the network may be trusted"
            )
        headers = {"accept": "application/json"}
        if token:
            headers["authorization"] = f"Bearer {token}"
        self._has_token: Final = bool(token)
        self._where: Final = f"{parts.scheme}://{parts.netloc}"
        # A proxy of the environment has no business with what stays on this machine.
        is_far = parts.hostname not in LOOPBACK
        self._http: Final = httpx.Client(
            base_url=url, headers=headers, timeout=ANSWER_S, trust_env=is_far
        )

    def tasks(self, wanted: Wanted) -> Json:
        """See `Desk.tasks`."""
        found: list[Json] = []
        query: dict[str, Any] = {"phase": list(wanted.phases)}
        if wanted.search is not None:
            query["search"] = wanted.search
        while True:
            query["limit"] = min(PAGE_MAX, wanted.limit - len(found))
            page = self._asked("GET", "/tasks", params=query)
            found += page["tasks"]
            query["cursor"] = page["next_cursor"]
            if query["cursor"] is None or len(found) >= wanted.limit:
                return {"tasks": found, "total": page["total"]}

    def task(self, task_id: str) -> Json:
        """See `Desk.task`."""
        return self._asked("GET", f"/tasks/{_step(task_id)}")

    def events(self, task_id: str) -> list[Json]:
        """See `Desk.events`."""
        said = self._asked("GET", f"/tasks/{_step(task_id)}/events")
        return cast("list[Json]", said["events"])

    def act(self, task_id: str, action: str, body: Json) -> Json:
        """See `Desk.act`."""
        return self._asked("POST", f"/tasks/{_step(task_id)}/{action}", json=body)

    def forget(self, task_id: str) -> None:
        """See `Desk.forget`."""
        self._asked("DELETE", f"/tasks/{_step(task_id)}")

    def close(self) -> None:
        """See `Desk.close`."""
        self._http.close()

    def purge(self, older_than_s: float, tell: Tell) -> int:
        """See `Desk.purge`."""
        purged = 0
        while gone := self._asked("POST", "/purge", json={"older_than_s": older_than_s})["purged"]:
            purged += int(gone)
            tell("forgotten", purged, 0)
        return purged

    def _asked(self, method: str, path: str, **sent: Any) -> Json:  # noqa: ANN401  httpx's
        try:
            answer = self._http.request(method, path, **sent)
        except UnicodeEncodeError:
            raise DeskError("it has half a character; whole text is accepted") from None
        except httpx.TimeoutException:
            why = f"{self._where} did not answer within {ANSWER_S:g} s"
            raise DeskError(why) from None
        except httpx.HTTPError as error:
            raise DeskError(f"{self._where} cannot be reached: {error}; is it running?") from None
        if answer.is_success:
            if not answer.content:
                return {}
            said = _json_of(answer)
            if said is not None:
                return said
        raise DeskError(self._problem_of(answer))

    def _problem_of(self, answer: httpx.Response) -> str:
        if answer.status_code == HTTPStatus.UNAUTHORIZED:
            if self._has_token:
                return f"{self._where} does not accept the token; a valid one is needed"
            return f"{self._where} wants a token; it is taken from {TOKEN} or --token-file"
        # Others say {"detail": "Not Found"} as plain JSON.
        is_ours = answer.headers.get("content-type", "").startswith(PROBLEM_JSON)
        detail = (_json_of(answer) or {}).get("detail")
        if is_ours and isinstance(detail, str) and detail:
            return detail
        return (
            f"{self._where} answered {answer.status_code}, and is no management API of Interlock; "
            "the address of `interlock serve` or of a Service is accepted, or with the path to "
            f"its {MANAGE}"
        )


def _json_of(answer: httpx.Response) -> Json | None:
    try:
        said = answer.json()
    except ValueError:
        return None
    return cast("Json", said) if isinstance(said, dict) else None


def _step(task_id: str) -> str:
    """An id as one step of a path.

    Raises:
        DeskError: it would be another path.
    """
    if task_id in {"", ".", ".."}:
        raise DeskError(f"no task {task_id!r}; an id as interlock tasks shows it is accepted")
    return quote(task_id, safe="", errors="replace")
