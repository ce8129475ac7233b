"""The way to a Restate server: calls to objects, and what is asked of its administration."""

import asyncio
from typing import Any, Final
from urllib.parse import quote

import httpx
from pydantic_core import from_json

from interlock.errors import StoreError
from interlock.models import JsonValue

#: Seconds until a call is taken for lost, and sent again: an object remembers what it has done.
CALL_S: Final = 10.0
#: Calls at once.
_CALLS_MAX: Final = 32
#: Seconds between two tries, at first and at most.
RETRY_S: Final = (0.05, 1.0)
#: Seconds in which a server has to let a new deployment be called.
_REGISTERED_S: Final = 20.0

_OK: Final = 200
_NOT_FOUND: Final = 404
_CONFLICT: Final = 409
_SERVERS_FAULT: Final = 500


class Unsure(StoreError):
    """A call was sent, and nobody knows what became of it."""

    code = "store_unsure"


class Link:
    """Connections to one server; nothing of what it answers is repeated in an error."""

    def __init__(self, ingress: str, admin: str) -> None:
        self._ingress: Final = ingress
        self._admin: Final = admin
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=_CALLS_MAX)
        timeout = httpx.Timeout(CALL_S, pool=None)
        #: For each call the pool looks at all connections, and at all calls that wait for one.
        self._free: Final = asyncio.Semaphore(_CALLS_MAX)
        self._http: Final = httpx.AsyncClient(limits=limits, timeout=timeout, trust_env=False)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._http.aclose()

    async def call(self, service: str, key: str, handler: str, body: bytes) -> JsonValue:
        """Call a handler of the object of that key once; what it answers.

        Raises:
            Unsure: nobody knows whether it was called.
            StoreError: it was not.
        """
        url = f"{self._ingress}/{service}/{quote(key, safe='')}/{handler}"
        return await self._called(url, service, body)

    async def _called(self, url: str, service: str, body: bytes) -> JsonValue:
        headers = {"content-type": "application/json"}
        try:
            async with self._free:
                response = await self._http.post(url, content=body, headers=headers)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise StoreError(f"Restate is not reached ({type(error).__name__})") from None
        except httpx.HTTPError as error:
            raise Unsure(f"Restate did not answer ({type(error).__name__})") from None
        if response.status_code == _OK:
            answer: JsonValue = from_json(response.content) if response.content else None
            return answer
        if response.status_code == _NOT_FOUND:
            raise StoreError(f"no worker has registered {service} at the Restate server")
        said = f"Restate answered {response.status_code} to a call of {service}"
        raise (Unsure if response.status_code >= _SERVERS_FAULT else StoreError)(said)

    async def register(self, uri: str, *, force: bool) -> None:
        """Make a deployment known to the server.

        Raises:
            StoreError: the server cannot be reached, or cannot reach the deployment, or has
                another one of that URL, which only `force` replaces.
        """
        body = {"uri": uri, "force": force}
        try:
            response = await self._http.post(f"{self._admin}/deployments", json=body)
        except httpx.HTTPError as error:
            kind = type(error).__name__
            raise StoreError(f"the administration of Restate is not reached ({kind})") from None
        if response.status_code == _CONFLICT:
            raise StoreError(f"Restate knows {uri} with other handlers: give a new URL, or force")
        if response.is_error:
            why = f"{response.status_code}: can it reach {uri}?"
            raise StoreError(f"Restate did not register the worker ({why})")

    async def answers(self, service: str, key: str, handler: str) -> None:
        """Wait until a handler that was just registered answers.

        Raises:
            StoreError: it does not.
        """
        delay_s = RETRY_S[0]
        try:
            async with asyncio.timeout(_REGISTERED_S):
                while True:
                    try:
                        await self.call(service, key, handler, b"{}")
                    except StoreError:
                        await asyncio.sleep(delay_s)
                        delay_s = min(2 * delay_s, RETRY_S[1])
                    else:
                        return
        except TimeoutError:
            raise StoreError(f"Restate does not reach the worker of {service}") from None

    async def query(self, sql: str) -> list[dict[str, Any]]:
        """The rows that the server's own tables have for a query.

        Raises:
            StoreError: it cannot be asked.
        """
        headers = {"accept": "application/json"}
        try:
            response = await self._http.post(
                f"{self._admin}/query", json={"query": sql}, headers=headers
            )
            rows: list[dict[str, Any]] = response.json()["rows"]
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            kind = type(error).__name__
            raise StoreError(f"the administration of Restate does not answer ({kind})") from None
        return rows
