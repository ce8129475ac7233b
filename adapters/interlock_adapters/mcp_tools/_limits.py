"""What an MCP server is given: tries, seconds and bytes."""

from dataclasses import asdict, dataclass

from interlock.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class McpLimits:
    """How often, how long and how much.

    The time of a call is not here: it is its policy's `timeout_s`.
    """

    #: How often a server is tried before it counts as not there.
    attempts: int = 5
    #: Seconds between two tries, doubled from try to try up to the second figure.
    backoff_first_s: float = 0.5
    backoff_max_s: float = 30.0
    #: Seconds for connecting and listing the tools, and for each try of that.
    connect_s: float = 20.0
    #: Bytes of one answer of a server.
    answer_bytes_max: int = 67_108_864

    def __post_init__(self) -> None:
        """Refuse what would try for ever without a pause, or never.

        Raises:
            InvalidInput: a figure is not above zero.
        """
        problems = [
            f"McpLimits.{name} is {value!r:.80}; a number above zero is accepted"
            for name, value in asdict(self).items()
            if not value > 0
        ]
        if problems:
            raise InvalidInput(problems)

    def backoff_s(self, tried: int) -> float:
        """How long to wait after so many tries."""
        return min(self.backoff_first_s * 2.0 ** min(tried - 1, 32), self.backoff_max_s)
