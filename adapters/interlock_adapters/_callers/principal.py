"""Who calls: the same principal behind every face, and whose the tasks are that it makes."""

import enum
from dataclasses import dataclass
from typing import Final

#: What sets the parts of an owner apart, and so is spelt otherwise within one.
_APART: Final = str.maketrans({" ": "%20", "%": "%25"})
#: What begins the part that names a tenant, and the name of a client that acts for nobody but
#: itself: no issuer and no subject begins so.
_TENANT: Final = "tenant="
_CLIENT: Final = "client="

#: Whose the tasks of callers without a credential are, behind every face.
ANONYMOUS: Final = "anonymous"


class Role(enum.StrEnum):
    """What a principal may do besides using its own tasks."""

    #: See the tasks of its tenant that wait, and answer and decide what they ask.
    APPROVER = "approver"
    #: See every task of its tenant, cancel and resume them, and change how the service works.
    OPERATOR = "operator"
    #: See every task of its tenant, and change nothing.
    AUDITOR = "auditor"


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody whose credential was verified.  Nothing in it comes from a request's body.

    Without a `tenant` it is of the deployment itself: its roles are for the tasks of all.
    """

    subject: str
    issuer: str = ""
    tenant: str = ""
    roles: frozenset[Role] = frozenset()
    #: How a person is called on pages; never whose anything is.
    name: str = ""
    #: `subject` is the name of a client, whose credential has no subject.
    client: bool = False

    @property
    def owner(self) -> str:
        """Whose its tasks are: tenant, issuer and subject, none of which can pass for another."""
        subject = _CLIENT + _apart(self.subject) if self.client else _spelt(self.subject)
        issuer = f"{_spelt(self.issuer)} " if self.issuer else ""
        return f"{self.within}{issuer}{subject}"

    @property
    def within(self) -> str:
        """What the owners of all tasks of its tenant begin with; of the deployment, nothing."""
        return f"{_TENANT}{_apart(self.tenant)} " if self.tenant else ""

    @property
    def role_names(self) -> tuple[str, ...]:
        """Its roles as the engine and other libraries take them: texts, in order."""
        return tuple(sorted(role.value for role in self.roles))

    def sees(self, owner: str) -> bool:
        """Whether its roles reach the tasks of an owner."""
        return owner.startswith(self.within)


def _apart(name: str) -> str:
    return name.translate(_APART)


def _spelt(name: str) -> str:
    said = _apart(name)
    return said.replace("=", "%3D", 1) if said.startswith((_TENANT, _CLIENT)) else said
