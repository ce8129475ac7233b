"""Webhooks go where the deployment allows, to the address that was checked, and nowhere else."""

import asyncio
import base64
import contextlib
import datetime as dt
import hashlib
import hmac
import ipaddress
import logging
import socket
import ssl
import threading
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr

from interlock import DeliveryFailed
from interlock.errors import LimitReached
from interlock_adapters._http.names import Lookups
from interlock_adapters._http.webhook import (
    ADDRESSES_MAX,
    URL_CHARS_MAX,
    TargetRefused,
    Webhooks,
    WebhookSettings,
    is_reachable,
    retry_after_s,
)
from support import pause

PUBLIC = "93.184.216.34"
URL = "https://receiver.test/hook?key=canary"
NOW = 1_700_000_000.0


class Names:
    """A resolver that answers from a list, one entry for each question; the last one stays."""

    def __init__(self, *answers: Sequence[str] | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """See `Resolver`."""
        self.asked.append((host, port))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Net:
    """What was sent, and what is answered: a code, an error, or a whole response."""

    def __init__(self, *answers: int | Exception | httpx.Response) -> None:
        self.answers = list(answers) or [200]
        self.requests: list[httpx.Request] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        """See `httpx.MockTransport`."""
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer) if isinstance(answer, int) else answer


def webhooks(net: Net | None = None, names: Names | None = None, **settings: object) -> Webhooks:
    """Webhooks over a net and names of the test's own."""
    return Webhooks(
        WebhookSettings.model_validate(settings),
        resolve=names or Names([PUBLIC]),
        transport=httpx.MockTransport(net or Net()),
        now=lambda: NOW,
    )


async def post(hooks: Webhooks, url: str = URL) -> None:
    """Send a small POST."""
    async with asyncio.timeout(60):
        await hooks.post(url, b"{}", {"authorization": "Bearer canary"}, webhook_id="t:1")


async def refusal_of(hooks: Webhooks, url: str) -> str:
    """Why a target is refused."""
    with pytest.raises(TargetRefused) as caught:
        await hooks.check_target(url)
    return str(caught.value)


async def failure_of(hooks: Webhooks, url: str = URL) -> DeliveryFailed:
    """How a POST fails."""
    with pytest.raises(DeliveryFailed) as caught:
        await post(hooks, url)
    return caught.value


@pytest.mark.parametrize(
    ("address", "public", "private"),
    [
        (PUBLIC, True, True),
        ("2606:4700::1111", True, True),
        ("64:ff9b::5db8:d822", True, True),  # NAT64 of a public address
        ("2002:5db8:d822::1", True, True),  # 6to4 of one
        ("::ffff:93.184.216.34", True, True),
        ("127.0.0.1", False, True),
        ("10.1.2.3", False, True),
        ("192.168.1.1", False, True),
        ("100.64.0.1", False, True),
        ("::1", False, True),
        ("fd12::1", False, True),
        ("::ffff:127.0.0.1", False, True),
        ("64:ff9b::a00:1", False, True),
        ("2002:7f00:1::", False, True),
        ("2001:0:4136:e378:8000:63bf:80ff:fffe", False, True),  # Teredo of 127.0.0.1
        ("169.254.169.254", False, False),
        ("::ffff:169.254.169.254", False, False),
        ("fe80::1%eth0", False, False),
        ("100.100.100.200", False, False),
        ("168.63.129.16", False, False),
        ("192.0.0.192", False, False),
        ("fd00:ec2::254", False, False),
        ("0.0.0.0", False, False),  # noqa: S104  an address, not a bind
        ("::", False, False),
        ("224.0.0.1", False, False),
        ("ff02::1", False, False),
        ("255.255.255.255", False, False),
        ("240.0.0.1", False, False),
        ("::7f00:1", False, False),
        ("not an address", False, False),
    ],
)
def test_only_public_addresses_are_reachable_for_strangers(
    address: str, *, public: bool, private: bool
) -> None:
    """Wrapped addresses count as what they wrap; some are never a receiver.

    Source: T15, R-A2A-14.
    """
    assert is_reachable(address, private=False) is public
    assert is_reachable(address, private=True) is private


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://receiver.test/", "must begin with https"),
        ("ftp://receiver.test/", "must begin with https"),
        ("file:///etc/passwd", "must begin with https"),
        ("//receiver.test/", "must begin with https"),
        ("", "must begin with https"),
        ("https:///hook", "names no host"),
        ("https://exa mple.test/", "names no host"),
        ("https://ex%61mple.test/", "names no host"),
        ("https://127.0.0.1\\.receiver.test/", "names no host"),
        ("https://ada:canary@receiver.test/", "must not hold a user or password"),
        ("https://receiver.test@evil.test/", "must not hold a user or password"),
        ("https://receiver.test:99999/", "names no port"),
        ("https://receiver.test:0/", "names no port"),
        ("https://receiver.test:x/", "is not one"),
        ("https://0177.0.0.1/", "is not one"),
        ("https://receiver.test/\x00", "is not one"),
        ("https://receiver.test/" + "x" * URL_CHARS_MAX, "more than 2048 characters"),
    ],
)
async def test_what_cannot_be_a_target_is_refused_before_any_name_is_asked(
    url: str, why: str
) -> None:
    """The reason is about the text of the URL, and does not repeat it."""
    names = Names([PUBLIC])
    said = await refusal_of(webhooks(names=names), url)
    assert why in said
    assert "canary" not in said
    assert names.asked == []


@pytest.mark.parametrize(
    "answer",
    [
        ["10.0.0.1"],
        [PUBLIC, "127.0.0.1"],
        [],
        OSError("no such host"),
        UnicodeError("label too long"),
        TimeoutError(),
    ],
)
async def test_a_host_without_only_public_addresses_is_refused_in_the_same_words(
    answer: Sequence[str] | Exception,
) -> None:
    """A caller must not learn which names exist in our network.  Source: T15."""
    said = await refusal_of(webhooks(names=Names(answer)), URL)
    assert said == "the host of the URL does not resolve to a public address"


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "127.0.0.1", "[::1]"])
async def test_an_address_written_otherwise_is_judged_as_what_it_is(host: str) -> None:
    """Decimal, hex and short forms are addresses: no name is asked for them.  Source: T15."""
    names = Names([PUBLIC])
    said = await refusal_of(webhooks(names=names), f"https://{host}/")
    assert "does not resolve to a public address" in said
    net = Net()
    private = webhooks(net, names, allow_private_targets=True)
    await private.check_target(f"https://{host}/")
    await post(private, f"https://{host}/")
    assert ipaddress.ip_address(net.requests[0].url.host.strip("[]")).is_loopback
    assert names.asked == []


class SlowNames:
    """A resolver for which some names take as long as the test likes."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer = asyncio.Event()
        self.begun = asyncio.Semaphore(0)

    async def __call__(self, host: str, _port: int) -> Sequence[str]:
        """See `Resolver`."""
        self.asked.append(host)
        self.begun.release()
        if host.startswith("slow"):
            await self.answer.wait()
        return [PUBLIC]


async def checking(hooks: Webhooks, names: SlowNames, count: int) -> list[asyncio.Task[None]]:
    """So many checks of slow names, each of which has begun."""
    checks = [
        asyncio.create_task(hooks.check_target(f"https://slow{n}.test/")) for n in range(count)
    ]
    async with asyncio.timeout(60):
        for _ in range(count):
            await names.begun.acquire()
    return checks


async def test_checks_of_slow_names_hold_up_no_delivery() -> None:
    """They have places of their own, and so have deliveries."""
    names = SlowNames()
    hooks = Webhooks(
        WebhookSettings(checks_max=2), resolve=names, transport=httpx.MockTransport(Net())
    )
    checks = await checking(hooks, names, 2)
    waiting = asyncio.create_task(hooks.check_target("https://good.test/"))
    await post(hooks)
    assert not waiting.done()
    assert names.asked == ["slow0.test", "slow1.test", "receiver.test"]
    # Addresses and what cannot be a target take no place.
    await hooks.check_target(f"https://{PUBLIC}/")
    await refusal_of(hooks, "ftp://receiver.test/")
    names.answer.set()
    async with asyncio.timeout(60):
        await asyncio.gather(*checks, waiting)
    await hooks.aclose()


async def test_a_check_that_gets_no_place_in_time_is_put_off() -> None:
    """It says so, and when to come again; the name was not asked."""
    names = SlowNames()
    settings = WebhookSettings(checks_max=1, timeout_s=0.1)
    hooks = Webhooks(settings, resolve=names, transport=httpx.MockTransport(Net()))
    [slow] = await checking(hooks, names, 1)
    with pytest.raises(LimitReached) as caught:
        await hooks.check_target("https://good.test/")
    assert (caught.value.limit, caught.value.maximum) == ("checks_max", 1)
    assert caught.value.retry_after_s is not None
    with pytest.raises(TargetRefused):
        await slow
    # Nobody waits for it any more; the place is taken for as long as the resolver is busy.
    with pytest.raises(LimitReached):
        await hooks.check_target("https://good.test/")
    names.answer.set()
    await pause()
    await hooks.check_target("https://good.test/")
    assert names.asked == ["slow0.test", "good.test"]
    await hooks.aclose()


async def test_closing_lets_go_of_lookups_that_are_under_way() -> None:
    """Whoever waits for one learns that nothing was found; afterwards it can be used again."""
    names = SlowNames()
    hooks = Webhooks(WebhookSettings(), resolve=names, transport=httpx.MockTransport(Net()))
    checks = await checking(hooks, names, 2)
    async with asyncio.timeout(60):
        await hooks.aclose()
        answers = await asyncio.gather(*checks, return_exceptions=True)
    assert {type(answer) for answer in answers} == {TargetRefused}
    await hooks.aclose()
    await hooks.check_target("https://good.test/")
    await hooks.aclose()


async def test_the_machines_resolver_keeps_off_the_threads_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Names that take long, as many as there are places for, and everybody else goes on."""
    loop, full, answer = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    begun: list[str] = []

    def slow(host: str, _port: int, **_: object) -> list[object]:
        begun.append(threading.current_thread().name)
        if len(begun) == settings.checks_max:
            loop.call_soon_threadsafe(full.set)
        answer.wait(5)
        raise socket.gaierror(socket.EAI_NONAME, host)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    settings = WebhookSettings(checks_max=2)
    async with (
        asyncio.timeout(60),
        Webhooks(settings, transport=httpx.MockTransport(Net())) as hooks,
    ):
        checks = [
            asyncio.create_task(hooks.check_target(f"https://slow{n}.test/")) for n in range(20)
        ]
        await full.wait()
        assert await asyncio.to_thread(lambda: "served") == "served"
        assert {name.rpartition("_")[0] for name in begun} == {"interlock names"}
        answer.set()
        answers = await asyncio.gather(*checks, return_exceptions=True)
    assert {type(one) for one in answers} == {TargetRefused}


async def test_ports_can_be_limited_to_a_list() -> None:
    """The default port of the scheme counts too."""
    hooks = webhooks(ports=frozenset({443, 8443}))
    await hooks.check_target("https://receiver.test/")
    await hooks.check_target("https://receiver.test:8443/")
    assert "one of: 443, 8443" in await refusal_of(hooks, "https://receiver.test:22/")
    plain = webhooks(ports=frozenset({80}), allow_http=True)
    await plain.check_target("http://receiver.test/")
    assert "one of: 80" in await refusal_of(plain, URL)


async def test_the_connection_goes_to_the_checked_address_in_the_name_of_the_host() -> None:
    """Host header, SNI and certificate are the name's.  Source: T15, "pin", R-A2A-14."""
    net, names = Net(204), Names(["2606:4700::1111%eth0"])
    await post(webhooks(net, names), "https://receiver.test:8443/hook?key=1#part")
    [request] = net.requests
    assert request.method == "POST"
    assert str(request.url) == "https://[2606:4700::1111]:8443/hook?key=1"
    assert request.headers["host"] == "receiver.test:8443"
    assert request.extensions["sni_hostname"] == "receiver.test"
    assert request.headers["authorization"] == "Bearer canary"
    assert request.content == b"{}"
    assert names.asked == [("receiver.test", 8443)]


async def test_a_name_that_turns_inward_is_refused_when_sending() -> None:
    """Public when checked, loopback when used.  Source: T15, DNS rebinding."""
    net = Net()
    hooks = webhooks(net, Names([PUBLIC], [PUBLIC], ["127.0.0.1"]))
    await hooks.check_target(URL)
    await post(hooks)
    failure = await failure_of(hooks)
    assert failure.permanent
    assert len(net.requests) == 1


async def test_a_redirect_is_not_followed() -> None:
    """It could lead to the metadata of the machine.  Source: T15, R-A2A-14."""
    net = Net(httpx.Response(307, headers={"location": "http://169.254.169.254/latest"}))
    failure = await failure_of(webhooks(net))
    assert (str(failure), failure.permanent) == ("answered 307; redirects are not followed", True)
    assert len(net.requests) == 1


@pytest.mark.parametrize("code", [200, 201, 202, 204])
async def test_every_success_counts_as_delivered(code: int) -> None:
    """Whatever the receiver makes of it, it has it."""
    await post(webhooks(Net(code)))


@pytest.mark.parametrize(
    ("code", "permanent"),
    [
        (400, True),
        (401, True),
        (404, True),
        (410, True),
        (304, True),
        (408, False),
        (425, False),
        (429, False),
        (500, False),
        (503, False),
    ],
)
async def test_a_failure_says_whether_it_may_pass(code: int, *, permanent: bool) -> None:
    """Source: RFC 9110 15; RFC 8470 5.2; RFC 6585 4."""
    failure = await failure_of(webhooks(Net(code)))
    assert failure.permanent is permanent
    assert str(failure).startswith(f"answered {code}")
    assert failure.retry_after_s is None


async def test_a_receivers_retry_after_is_passed_on() -> None:
    """Only with an answer that may pass; bounding it is the courier's.  Source: RFC 9110 10.2.3."""
    busy = httpx.Response(503, headers={"retry-after": "120"})
    assert (await failure_of(webhooks(Net(busy)))).retry_after_s == 120.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        ("9" * 400, float("inf")),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
        ("Tue, 14 Nov 2023 22:13:00 GMT", 0.0),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("٣", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    """Anything else says nothing.  Source: RFC 9110 10.2.3."""
    assert retry_after_s(value, now=NOW) == seconds


@pytest.mark.parametrize(
    ("error", "permanent", "said"),
    [
        (httpx.ReadTimeout("canary"), False, "not reachable: ReadTimeout"),
        (httpx.ReadError("canary"), False, "not reachable: ReadError"),
        (httpx.ConnectError("canary"), False, "not reachable: ConnectError"),
        (httpx.RemoteProtocolError("canary"), False, "not reachable: RemoteProtocolError"),
        (httpx.LocalProtocolError("canary"), True, "the request cannot be written down"),
    ],
)
async def test_an_error_on_the_way_is_told_by_its_kind_alone(
    error: Exception, said: str, *, permanent: bool
) -> None:
    """An exception may quote an address or a header.  Source: INVARIANTS I38."""
    failure = await failure_of(webhooks(Net(error)))
    assert (str(failure), failure.permanent) == (said, permanent)


async def test_a_host_that_does_not_resolve_for_a_while_is_tried_again() -> None:
    """A resolver has bad days too."""
    failure = await failure_of(webhooks(names=Names(OSError("canary"))))
    assert (str(failure), failure.permanent) == ("the host does not resolve", False)


async def test_addresses_are_tried_in_turn_while_nothing_was_sent() -> None:
    """A host with a dead address still gets its POST, once; there is a bound."""
    net = Net(httpx.ConnectError("refused"), httpx.ConnectTimeout("slow"), 200)
    await post(webhooks(net, Names(["93.184.216.1", "93.184.216.2", "93.184.216.3"])))
    assert [request.url.host[-1] for request in net.requests] == ["1", "2", "3"]
    dead = Net(httpx.ConnectError("refused"))
    many = Names([f"93.184.216.{n}" for n in range(20)])
    assert not (await failure_of(webhooks(dead, many))).permanent
    assert len(dead.requests) == ADDRESSES_MAX


async def test_a_post_that_may_have_arrived_is_not_sent_to_another_address() -> None:
    """Only a failed connection proves that nothing was sent."""
    net = Net(httpx.ReadTimeout("slow"), 200)
    await failure_of(webhooks(net, Names(["93.184.216.1", "93.184.216.2"])))
    assert len(net.requests) == 1


async def test_a_receiver_that_never_answers_is_given_up() -> None:
    """The whole POST is bounded, not each step alone."""

    async def never(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    hooks = Webhooks(
        WebhookSettings(timeout_s=1e-6),
        resolve=Names([PUBLIC]),
        transport=httpx.MockTransport(never),
    )
    failure = await failure_of(hooks)
    assert (str(failure), failure.permanent) == ("no answer within 1e-06 s", False)


async def test_a_body_that_never_ends_is_not_read() -> None:
    """The answer's first line is all that counts."""
    closed: list[bool] = []

    class Endless(httpx.AsyncByteStream):
        async def aclose(self) -> None:
            closed.append(True)

    await post(webhooks(Net(httpx.Response(200, stream=Endless()))))
    assert closed == [True]


async def test_a_signature_names_the_id_the_time_and_the_body() -> None:
    """One for each key, newest first, so that a key can be replaced.

    Source: Standard Webhooks, R-A2A-13.
    """
    net = Net()
    keys = [b"new key", b"old key"]
    secrets = [
        SecretStr("whsec_" + base64.b64encode(keys[0]).decode()),
        SecretStr(base64.b64encode(keys[1]).decode()),
    ]
    await post(webhooks(net, signing_keys=secrets))
    [request] = net.requests
    assert request.headers["webhook-id"] == "t:1"
    assert request.headers["webhook-timestamp"] == "1700000000"
    digests = [hmac.digest(key, b"t:1.1700000000.{}", hashlib.sha256) for key in keys]
    expected = " ".join("v1," + base64.b64encode(digest).decode() for digest in digests)
    assert request.headers["webhook-signature"] == expected


async def test_without_a_key_there_is_no_signature() -> None:
    """The id is there all the same: it tells repeats apart."""
    net = Net()
    await post(webhooks(net))
    assert net.requests[0].headers["webhook-id"] == "t:1"
    assert "webhook-signature" not in net.requests[0].headers


def test_a_signing_key_that_is_not_base64_stops_the_deployment() -> None:
    """And is not quoted: it may be a real one with a typing error."""
    with pytest.raises(ValueError, match="not base64") as caught:
        webhooks(signing_keys=[SecretStr("whsec_canary!")])
    assert "canary" not in str(caught.value)
    assert "canary" not in repr(WebhookSettings(signing_keys=(SecretStr("canary"),)))


@pytest.mark.parametrize("key", ["", "whsec_"])
def test_a_signing_key_of_nothing_stops_the_deployment(key: str) -> None:
    """Whoever knows the scheme could sign with it.  Source: R-A2A-13."""
    with pytest.raises(ValueError, match="a signing key is empty"):
        webhooks(signing_keys=[SecretStr(key)])


# --- over real sockets --------------------------------------------------------------------


class Receiver:
    """An HTTP server on a loopback port, one canned answer for each connection."""

    def __init__(self) -> None:
        self.port = 0
        self.heard: list[bytes] = []
        self.hung_up = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer a request with 200 and a body that does not end, until the peer hangs up."""
        head = await reader.readuntil(b"\r\n\r\n")
        self.heard.append(head + await reader.readexactly(2))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nthe first of many")
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        self.hung_up.set()


@contextlib.asynccontextmanager
async def listening(tls: ssl.SSLContext | None = None) -> AsyncGenerator[Receiver]:
    """A receiver that is listening; it must see the end of what it heard."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=tls)
    async with server, asyncio.timeout(60):
        receiver.port = server.sockets[0].getsockname()[1]
        yield receiver
        if receiver.heard:
            await receiver.hung_up.wait()


def certificate(folder: Path, name: str) -> Path:
    """A self-signed certificate for a host, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    names: list[x509.GeneralName] = [x509.DNSName(name)]
    day = dt.timedelta(days=1)
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(signed.public_bytes(pem) + secret)
    return path


async def test_a_post_over_a_real_socket_reaches_the_checked_address(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And no log at any level holds its path, its headers or its body.  Source: INVARIANTS I38."""
    caplog.set_level(logging.DEBUG)
    settings = WebhookSettings(allow_http=True, allow_private_targets=True)
    async with listening() as receiver, Webhooks(settings, resolve=Names(["127.0.0.1"])) as hooks:
        await post(hooks, f"http://receiver.test:{receiver.port}/hook?key=canary")
    [heard] = receiver.heard
    assert heard.startswith(b"POST /hook?key=canary HTTP/1.1\r\n")
    assert f"host: receiver.test:{receiver.port}".encode() in heard.lower()
    assert heard.endswith(b"{}")
    assert "canary" not in caplog.text


@pytest.mark.parametrize(("name", "good"), [("receiver.test", True), ("another.test", False)])
async def test_a_pinned_connection_still_needs_the_certificate_of_the_name(
    tmp_path: Path, name: str, *, good: bool
) -> None:
    """Else pinning would trade one attack for another."""
    pem = certificate(tmp_path, name)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(pem)
    trusting = httpx.AsyncHTTPTransport(verify=ssl.create_default_context(cafile=str(pem)))
    settings = WebhookSettings(allow_private_targets=True)
    hooks = Webhooks(settings, resolve=Names(["127.0.0.1"]), transport=trusting)
    async with listening(tls) as receiver, hooks:
        url = f"https://receiver.test:{receiver.port}/hook"
        if good:
            await post(hooks, url)
            assert len(receiver.heard) == 1
        else:
            assert str(await failure_of(hooks, url)) == "not reachable: ConnectError"
            assert receiver.heard == []


async def test_the_machines_resolver_finds_addresses_without_names() -> None:
    """The default is what the operating system says."""
    lookups = Lookups(1)
    for _ in range(2):
        await lookups.place()
        found = await lookups.look_up("127.0.0.1", 80)
        assert [ipaddress.ip_address(address).is_loopback for address in found] == [True]
    await lookups.aclose()
