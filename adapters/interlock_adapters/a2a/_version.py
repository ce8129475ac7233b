"""Which version of the protocol a call is of."""

from a2a.types import VersionNotSupportedError
from a2a.utils.constants import PROTOCOL_VERSION_0_3, PROTOCOL_VERSION_1_0, VERSION_HEADER


def spoken(version: str, *, v0_3: bool) -> str:
    """The version as we call it: `1.0`, or `0.3`, which is also what no version means.

    Raises:
        VersionNotSupportedError: another one.
    """
    # A patch number never matters (A2A section 3.6).
    known = ".".join(version.strip().split(".")[:2]) if version else PROTOCOL_VERSION_0_3
    if known == PROTOCOL_VERSION_1_0 or (v0_3 and known == PROTOCOL_VERSION_0_3):
        return known
    offered = [PROTOCOL_VERSION_1_0, *([PROTOCOL_VERSION_0_3] if v0_3 else [])]
    raise VersionNotSupportedError(
        f"the version in {VERSION_HEADER} is not spoken here", {"speaks": ", ".join(offered)}
    )
