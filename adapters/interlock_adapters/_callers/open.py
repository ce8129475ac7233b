"""Whether an address is of this machine only, and the refusal to serve others unasked."""

import ipaddress
import socket
from typing import Final

from interlock.errors import EngineError
from interlock_adapters._callers.base import Authenticator, trusting

#: The flag by its name, as the command line and the configuration have it.
FLAG: Final = "dangerously_open_to_everyone"


class OpenToEveryone(EngineError):
    """The service would be open to whoever reaches it, and nobody said that it may be."""

    code = "open_to_everyone"


def refuse_open(
    host: str,
    authenticator: Authenticator | None,
    dangerously_open_to_everyone: bool = False,  # noqa: FBT001, FBT002  as it is in the settings
) -> None:
    """Go on only if `host` is this machine, or callers are asked for a credential.

    `host` is what is bound: an address, a name, or the path of a unix socket, which its
    file's permissions guard.

    Raises:
        OpenToEveryone: neither is so, and nobody said `dangerously_open_to_everyone`.
    """
    asks = authenticator is not None and trusting(authenticator) is None
    if asks or dangerously_open_to_everyone or is_local(host):
        return
    raise OpenToEveryone(
        f"{host or 'every address'!r:.80} is reachable from other machines, and there is no "
        "authentication: whoever gets there could read, approve and cancel everything.  Bind "
        "127.0.0.1, or configure auth (bearer tokens or JWT); if it has to be open to everyone, "
        f"say {FLAG} (--{FLAG.replace('_', '-')})"
    )


def refuse_called(
    name: str,
    authenticator: Authenticator | None,
    dangerously_open_to_everyone: bool = False,  # noqa: FBT001, FBT002  as above
) -> None:
    """Go on only if callers are asked for a credential, or only this machine says `name`.

    Whoever names the service otherwise has something in front of it that lets others in, and
    to the service they come from this machine.

    Raises:
        OpenToEveryone: neither is so, and nobody said `dangerously_open_to_everyone`.
    """
    asks = authenticator is not None and trusting(authenticator) is None
    bare = name.strip("[]").lower()
    is_here = bare == "localhost" or bare.endswith(".localhost") or is_loopback(bare)
    if asks or dangerously_open_to_everyone or is_here:
        return
    raise OpenToEveryone(
        f"server names {name!r:.80} (url, allowed_hosts), so others reach it, through a proxy say, "
        "and there is no authentication: whoever gets there could read, approve and cancel "
        "everything.  Configure auth (bearer tokens or JWT); if it has to be open to everyone, "
        f"say {FLAG} (--{FLAG.replace('_', '-')})"
    )


def is_local(host: str) -> bool:
    """Whether only this machine reaches what is bound to a host.

    A name is what it stands for now: this asks the resolver, which may take a while.
    """
    if host.startswith(("unix:", "/")):
        return True
    name = host.strip("[]")
    if not name or "\0" in name:
        return False  # Every address.
    if is_loopback(name):
        return True
    try:
        # Also what is no address to `ipaddress`: 127.1, 0, 0x7f.1, ::1%lo.
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return bool(found) and all(is_loopback(str(address[0])) for *_, address in found)


def is_loopback(address: str) -> bool:
    """Whether it is an address by which a machine reaches itself."""
    try:
        said = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = said.ipv4_mapped if isinstance(said, ipaddress.IPv6Address) else None
    return (mapped or said).is_loopback
