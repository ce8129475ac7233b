"""What an ask wants back: a JSON schema for the world, a Python type for the agent.

A form is a pydantic model, any type pydantic can read, or a JSON schema.
"""

import copy
import functools
import json
import logging
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

from pydantic import TypeAdapter, ValidationError

from interlock._schema import check_schema, first_of
from interlock.models import JsonObject, JsonValue

_log: Final = logging.getLogger("interlock.form")

#: What an agent may give as the form of an ask.
FormLike: TypeAlias = type[Any] | JsonObject


@dataclass(frozen=True, slots=True)
class Form:
    """A schema, and how an answer that fits it becomes the agent's value."""

    schema: JsonObject
    #: None where the form is a schema: the JSON value is the agent's value.
    adapter: TypeAdapter[Any] | None

    def value_of(self, answer: JsonValue) -> Any:
        """The agent's value.

        Raises:
            ValidationError: the type wants more than its schema can say.
        """
        if self.adapter is None:
            return answer
        # As JSON, since a strict type takes a date or an enum as text from JSON only.
        return self.adapter.validate_json(json.dumps(answer))

    def problems_of(self, answer: JsonValue) -> list[str]:
        """What the type finds wrong with an answer that fits its schema."""
        try:
            self.value_of(answer)
        except ValidationError as error:
            return faults_of(error)
        except Exception as error:  # noqa: BLE001  a validator is the agent's code
            # What it says may hold a secret.
            _log.exception("a form's validator failed")
            return [f"it could not be checked: the form raised {type(error).__name__}"]
        return []


def faults_of(error: ValidationError) -> list[str]:
    """What pydantic found, each with its place and without the value."""
    return first_of(
        [
            f"at /{'/'.join(str(step) for step in fault['loc'])}: {fault['msg']}"
            for fault in error.errors(include_url=False, include_input=False)
        ]
    )


def form_of(like: FormLike) -> Form:
    """The form that the agent means.

    Raises:
        InvalidInput: the schema uses what answers cannot be checked against.
    """
    if isinstance(like, dict):
        check_schema(like)
        return Form(copy.deepcopy(like), None)
    try:
        return _form_of_type(cast("Hashable", like))
    except TypeError:
        # `Annotated` with metadata that has no hash is made anew each time.
        return _form_made(like)


def _form_made(like: Any) -> Form:
    adapter: TypeAdapter[Any] = TypeAdapter(like)
    schema = adapter.json_schema()
    check_schema(schema)
    return Form(schema, adapter)


_form_of_type: Final = functools.lru_cache(maxsize=256)(_form_made)
