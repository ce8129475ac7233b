"""POSTs to addresses that strangers name: checked, pinned, signed, never redirected.

A target is judged by the addresses that its host resolves to, and the connection goes to
one of the addresses that were judged, so that a name cannot point elsewhere in between
(DNS rebinding).  It is judged again for every POST.  No proxy, cookie or redirect is
involved, and nothing of a URL, a header or a body reaches a log or an error.  Targets are
checked apart from deliveries, so that slow names among the former hold up none of the latter.

Receivers are told apart repeats by `webhook-id`; with a signing key they can check who
sent it.  Header names and signature are those of Standard Webhooks.
"""

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import re
import time
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import ClassVar, Final, Self, TypeAlias

import httpx
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from interlock import DeliveryFailed
from interlock.errors import InvalidInput, LimitReached
from interlock_adapters._http.names import Lookups, Resolver, literal

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

#: A receiver's address may be this long; browsers and proxies agree on about as much.
URL_CHARS_MAX: Final = 2_048
PORT_MAX: Final = 65_535
#: Seconds after which a check that got no place may be tried again.
CHECK_AGAIN_S: Final = 5.0
#: Addresses of one host that are tried before the attempt counts as failed.
ADDRESSES_MAX: Final = 4
#: Refusals that may pass: too slow, too early, too many.  Every 5xx may pass too.
PASSING: Final = frozenset({408, 425, 429})
#: What a host looks like: a name, or an address, which for IPv6 has colons.
_HOST: Final = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+", re.ASCII)

#: Never a receiver, whatever Python's release thinks of them: protocol assignments, local
#: NAT64, the old site-local block, and where clouds keep the metadata of a machine (most of
#: them at a link-local address).
_NEVER: Final = tuple(
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",
        "64:ff9b:1::/48",
        "fec0::/10",
        "100.100.100.200/32",
        "168.63.129.16/32",
        "fd00:ec2::254/128",
    )
)
#: Shared by the customers of a carrier, and used by overlay networks: neither public nor
#: private to Python.
_SHARED: Final = ipaddress.IPv4Network("100.64.0.0/10")
#: Where the last 32 bits are the IPv4 address that is really reached.
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


class TargetRefused(InvalidInput):
    """The deployment does not send there; nothing was stored."""

    code = "target_refused"

    def __init__(self, why: str) -> None:
        super().__init__([why])


#: Seconds that a deployment may give a receiver at most.
TIMEOUT_MAX_S: Final = 30.0


class WebhookSettings(BaseModel):
    """What a deployment says about webhooks.  Read once, at the edge."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    #: Also send without TLS; whoever is on the way can then read and change it.
    allow_http: bool = False
    #: Also send to private and loopback addresses, for receivers in the same network.
    allow_private_targets: bool = False
    #: The only ports to send to; None for any.
    ports: frozenset[int] | None = None
    #: Seconds for one POST, from the name's resolution to the answer's first line.  More than
    #: the longest would not go into a delivery (`DeliveryLimits.delivery_s`).
    timeout_s: float = Field(default=10.0, gt=0, le=TIMEOUT_MAX_S)
    #: Seconds for one connection, TLS included.
    connect_s: float = Field(default=5.0, gt=0)
    #: Connections at once, and names looked up at once for them.
    connections_max: int = Field(default=32, ge=1)
    #: Names looked up at once for targets that are yet to be stored.
    checks_max: int = Field(default=8, ge=1)
    #: Each signs every POST, so that a key can be replaced without a gap: base64, with or
    #: without `whsec_` before it.
    signing_keys: tuple[SecretStr, ...] = ()


def is_reachable(address: str, *, private: bool) -> bool:
    """Whether a stranger may have us connect there; with `private`, to our own network too."""
    try:
        ip: _Address = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return all(_is_reachable(reached, private=private) for reached in _reached(ip))


def _is_reachable(ip: _Address, *, private: bool) -> bool:
    if any(ip in network for network in _NEVER):
        return False
    if ip.is_multicast or ip.is_unspecified or ip.is_link_local:
        return False
    if private and (ip.is_loopback or ip.is_private or ip in _SHARED):
        return ip.is_loopback or not ip.is_reserved
    # `is_global` alone takes some reserved IPv6 blocks for public ones.
    return ip.is_global and not ip.is_reserved


def _reached(ip: _Address) -> list[_Address]:
    """The addresses that a connection to this one may end at: IPv6 can wrap IPv4."""
    if isinstance(ip, ipaddress.IPv4Address):
        return [ip]
    if ip.ipv4_mapped is not None:
        return [ip.ipv4_mapped]
    if ip in _NAT64:
        return [ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)]
    if ip.sixtofour is not None:
        return [ip.sixtofour]  # Pythons differ in whether the wrapping itself is public.
    return [ip, *(ip.teredo or ())]


class Webhooks:
    """Sends POSTs.  Closed by `aclose`, or by leaving it as an async context."""

    def __init__(
        self,
        settings: WebhookSettings,
        *,
        resolve: Resolver | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Send as `settings` allow, to names as the machine, or `resolve`, knows them.

        `resolve` must end some time; the other arguments are for tests.

        Raises:
            ValueError: a signing key is not base64, or is empty.
        """
        self._settings: Final = settings
        self._checks: Final = Lookups(settings.checks_max, resolve)
        self._lookups: Final = Lookups(settings.connections_max, resolve)
        self._now: Final = now
        self._keys: Final = [_key(secret) for secret in settings.signing_keys]
        # The transport alone: a client above it would log URLs, follow redirects if told to,
        # and read proxies from the environment.  No connection is kept, since the next POST
        # may be judged otherwise, and one name's TLS session must not serve another's.
        self._transport: Final = transport or httpx.AsyncHTTPTransport(
            limits=httpx.Limits(
                max_connections=settings.connections_max, max_keepalive_connections=0
            )
        )

    async def __aenter__(self) -> Self:
        """Nothing to open."""
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        await self.aclose()

    async def aclose(self) -> None:
        """Let go of every lookup and connection; harmless when closed."""
        await self._checks.aclose()
        await self._lookups.aclose()
        await self._transport.aclose()

    async def check_target(self, url: str) -> None:
        """Judge a target before it is stored.

        Raises:
            TargetRefused: the deployment would not send there, or there is no such host.
            LimitReached: too many are being checked already.
        """
        target = self._parsed(url)
        has_place = False
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                addresses = self._literal(target)
                if addresses is None:
                    await self._checks.place()
                    has_place = True
                    addresses = await self._found(target, self._checks)
        except TimeoutError:
            if not has_place:
                raise LimitReached(
                    "checks_max", self._settings.checks_max, retry_after_s=CHECK_AGAIN_S
                ) from None
            addresses = []
        except (OSError, UnicodeError):
            addresses = []
        if not addresses:
            # One answer for all of it: a caller must not learn the names of our network.
            raise TargetRefused("the host of the URL does not resolve to a public address")

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, webhook_id: str
    ) -> None:
        """Send one POST; returns when the receiver has answered that it has it.

        Raises:
            DeliveryFailed: it has not, or did not say so.
        """
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                answer = await self._send(url, body, {**headers, **self._signed(webhook_id, body)})
        except TargetRefused as refusal:
            raise DeliveryFailed(str(refusal), permanent=True) from None
        except TimeoutError:
            raise DeliveryFailed(f"no answer within {self._settings.timeout_s:g} s") from None
        except httpx.LocalProtocolError:
            raise DeliveryFailed("the request cannot be written down", permanent=True) from None
        except httpx.TransportError as error:
            raise DeliveryFailed(f"not reachable: {type(error).__name__}") from None
        except (OSError, UnicodeError):
            raise DeliveryFailed("the host does not resolve") from None
        self._judge(answer)

    async def _send(self, url: str, body: bytes, headers: Mapping[str, str]) -> httpx.Response:
        """Try the target's addresses in turn; the answer without its body."""
        target = self._parsed(url)
        addresses = self._literal(target)
        if addresses is None:
            await self._lookups.place()
            addresses = await self._found(target, self._lookups)
        if not addresses:
            raise TargetRefused("the target is not, or no longer, a public address")
        host = target.raw_host.decode("ascii")
        seconds = self._settings.timeout_s
        extensions = {
            "timeout": httpx.Timeout(seconds, connect=self._settings.connect_s).as_dict(),
            # The certificate must be the name's; only the address is ours.
            "sni_hostname": host,
        }
        failure: httpx.TransportError | None = None
        for address in addresses[:ADDRESSES_MAX]:
            request = httpx.Request(
                "POST",
                target.copy_with(host=address, fragment=None),
                headers={"host": target.netloc.decode("ascii"), "connection": "close", **headers},
                content=body,
                extensions=extensions,
            )
            try:
                answer = await self._transport.handle_async_request(request)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error  # nothing was sent: another address may do
                continue
            # Nobody needs what it says beyond this, and it might never end.
            await answer.aclose()
            return answer
        assert failure is not None
        raise failure

    def _parsed(self, url: str) -> httpx.URL:
        """The parts of a URL that may be a target; its host is not judged yet.

        Raises:
            TargetRefused: it cannot be one.
        """
        if len(url) > URL_CHARS_MAX:
            raise TargetRefused(f"the URL has more than {URL_CHARS_MAX} characters")
        try:
            target = httpx.URL(url)
        except httpx.InvalidURL:
            raise TargetRefused("the URL is not one") from None
        schemes = ("https", "http") if self._settings.allow_http else ("https",)
        if target.scheme not in schemes:
            raise TargetRefused(f"the URL must begin with {' or '.join(schemes)}")
        if not _HOST.fullmatch(target.raw_host.decode("ascii")):
            raise TargetRefused("the URL names no host")
        if target.userinfo:
            raise TargetRefused("the URL must not hold a user or password")
        if not 0 < _port(target) <= PORT_MAX:
            raise TargetRefused("the URL names no port")
        if self._settings.ports is not None and _port(target) not in self._settings.ports:
            allowed = ", ".join(str(port) for port in sorted(self._settings.ports))
            raise TargetRefused(f"the port of the URL must be one of: {allowed}")
        return target

    def _literal(self, target: httpx.URL) -> Sequence[str] | None:
        """The address that the target names itself, as `_good`; None for a name."""
        address = literal(target.raw_host.decode("ascii"))
        return None if address is None else self._good([address])

    async def _found(self, target: httpx.URL, lookups: Lookups) -> Sequence[str]:
        """The addresses that the target's name has, as `_good`; the place must be there."""
        return self._good(await lookups.look_up(target.raw_host.decode("ascii"), _port(target)))

    def _good(self, found: Sequence[str]) -> Sequence[str]:
        """The addresses, or none if any of them is not to be reached."""
        private = self._settings.allow_private_targets
        good = all(is_reachable(address, private=private) for address in found)
        return [address.partition("%")[0] for address in found] if good else []

    def _signed(self, webhook_id: str, body: bytes) -> dict[str, str]:
        at = str(int(self._now()))
        headers = {"webhook-id": webhook_id, "webhook-timestamp": at}
        if self._keys:
            said = b".".join((webhook_id.encode(), at.encode(), body))
            digests = (hmac.digest(key, said, hashlib.sha256) for key in self._keys)
            headers["webhook-signature"] = " ".join(
                f"v1,{base64.b64encode(digest).decode()}" for digest in digests
            )
        return headers

    def _judge(self, answer: httpx.Response) -> None:
        code = answer.status_code
        if answer.is_success:
            return
        if code in PASSING or answer.is_server_error:
            wish_s = retry_after_s(answer.headers.get("retry-after"), now=self._now())
            raise DeliveryFailed(f"answered {code}", retry_after_s=wish_s)
        if answer.is_redirect:
            raise DeliveryFailed(f"answered {code}; redirects are not followed", permanent=True)
        raise DeliveryFailed(f"answered {code}", permanent=True)


def retry_after_s(value: str | None, *, now: float) -> float | None:
    """What a `Retry-After` header asks for, in seconds from `now`; None if it says nothing."""
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
        return max(0.0, date.timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _port(target: httpx.URL) -> int:
    if target.port is not None:
        return target.port
    return 443 if target.scheme == "https" else 80


def _key(secret: SecretStr) -> bytes:
    try:
        key = base64.b64decode(secret.get_secret_value().removeprefix("whsec_"), validate=True)
    except ValueError:
        raise ValueError("a signing key is not base64") from None
    if not key:
        # A variable that was not set, say: anybody can sign with nothing.
        raise ValueError("a signing key is empty")
    return key
