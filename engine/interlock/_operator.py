"""What an operator does to a store that no engine has open."""

from interlock._conclusion import OPERATOR_NAME
from interlock._event import Data, Signal
from interlock._machine import LIFECYCLE, Lifecycle
from interlock._memory import OPERATOR
from interlock._phases import Trigger
from interlock._record import Ask, TaskRecord
from interlock._store import Commit, Store
from interlock.errors import InvalidInput, UnknownTask
from interlock.models import JsonValue


def operator_ask_of(record: TaskRecord) -> Ask:
    """What an operator is asked about the task.

    Raises:
        InvalidInput: no operator is asked.
    """
    for ask in record.asks:
        if ask.key.startswith(OPERATOR):
            return ask
    why = f"task {record.task_id!r} is {record.shown}, and no operator is asked about it"
    raise InvalidInput([why])


async def resume_stopped(
    store: Store, task_id: str, decision: str, *, at: float, lifecycle: Lifecycle = LIFECYCLE
) -> TaskRecord:
    """Decide how a task goes on (see `Engine.resume`) when the next engine opens the store.

    The store must be open, and nobody else may have it open.  `at` is the time, in seconds
    since 1970.

    Raises:
        UnknownTask: there is no such task.
        InvalidInput: no operator is asked about it.
        AnswerInvalid: it may not be resumed in this way.
        Refused: it is too late.
        StoreError: it cannot be read or stored.
    """
    record = await store.get(task_id)
    if record is None:
        raise UnknownTask(task_id)
    no_message: list[JsonValue] = []
    data: Data = {
        "key": operator_ask_of(record).key,
        "token": None,
        "message": no_message,
        "value": decision,
    }
    at = max(at, record.updated_at)
    move = lifecycle.fire(record, Signal(Trigger.PROVIDE_INPUT, data, OPERATOR_NAME, at))
    await store.commit(Commit(move.record, (move.event,)))
    return move.record
