"""What becomes of a model that does not answer: tried again, or a failure in clear words."""

from typing import Final

from interlock.errors import CallFailed, EngineError, Retryable

__all__ = ["ModelFailed", "OutOfSteps", "RunEnds", "failed_of", "is_transient", "said_of"]

#: HTTP statuses after which the same request may well succeed: timeout, conflict, too many.
TRANSIENT: Final = frozenset({408, 409, 429})
#: Classes that clients raise when they were not answered at all; no client is imported for it.
UNREACHED: Final = frozenset(
    {"APIConnectionError", "APITimeoutError", "TransportError", "RequestException"}
)


class RunEnds(BaseException):
    """Ends a run from within: no `except Exception` of the library, or of a model's code, holds it.

    Its cause is what the task ends with.
    """

    def __init__(self, error: Exception) -> None:
        self.error = error
        super().__init__(str(error))


class ModelFailed(EngineError):
    """The model gave no answer, for a reason that will not pass by itself."""

    code = "model_failed"


class OutOfSteps(EngineError):
    """The agent took as many steps as it may and came to no answer."""

    code = "max_steps"

    def __init__(self, agent: str, steps: int) -> None:
        self.agent = agent
        self.steps = steps
        super().__init__(f"{agent} came to no final answer within its {steps} steps")


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an error of a model's client carries."""
    for holder in (error, getattr(error, "response", None)):
        for name in ("status_code", "status", "code"):
            status: object = getattr(holder, name, None)
            if isinstance(status, int) and not isinstance(status, bool):
                return status
    return None


def is_transient(error: Exception) -> bool:
    """Whether a model that failed so may answer when it is asked again."""
    status = status_of(error)
    if status is not None:
        return status in TRANSIENT or 500 <= status < 600  # noqa: PLR2004  server errors
    names = {kind.__name__ for kind in type(error).__mro__}
    return isinstance(error, ConnectionError | TimeoutError) or bool(names & UNREACHED)


def said_of(error: Exception, *, transient: bool) -> EngineError:
    """The error as the task gets it: its kind, and never its text, which may quote a secret."""
    status, kind = status_of(error), type(error).__name__
    answer = f"it answered HTTP {status} ({kind})" if status else kind
    if transient:
        return Retryable(f"the model is not available: {answer}")
    return ModelFailed(answer)


def failed_of(error: EngineError) -> EngineError:
    """What the task ends with: a failed call of the model is the model's failure."""
    if not isinstance(error, CallFailed) or error.kind != ModelFailed.__name__:
        return error
    return ModelFailed(f"the model gave no answer: {str(error).partition(': ')[2]}")
