"""What is wrong with a request, in words that quote none of its values: they may be secrets.

The libraries' own words do quote them, and so does what they log; so a request that the
SDK's dispatchers would stumble over is found, and answered, before they see it.
"""

import re
from typing import Final

from google.protobuf.json_format import ParseError
from pydantic import ValidationError

from interlock_adapters.a2a._json import Json

#: What the readers of requests raise, pydantic among them, when a value is in the wrong place.
UNREADABLE: Final = (ParseError, TypeError, AttributeError, ValueError, OverflowError)
#: Faults of one request that are told.
FAULTS_MAX: Final = 20
#: Faults beyond which none is told: to list them would keep everybody waiting.
_LISTED_MAX: Final = 1_000

#: How protobuf names the fields on the way to a fault.  They come first, and each is a field
#: that exists; what follows them quotes the request.
_WAY: Final = re.compile(r"(?:Failed to parse \w+ field: )+")
_FIELD: Final = re.compile(r"Failed to parse (\w+) field: ")


def unread(error: Exception) -> str:
    """What a reader of protobuf's JSON stumbled over, by its field."""
    said = str(error) if isinstance(error, ParseError) else ""
    if said.startswith("Failed to load JSON"):
        return "the body cannot be read as JSON"
    way = _WAY.match(said)
    if way is None:
        return "a field is of the wrong kind"
    return f"{'.'.join(_FIELD.findall(way[0]))} cannot be read"


def faults_of(error: ValidationError) -> Json:
    """The places of what pydantic found, and why, as the data of an error."""
    count = error.error_count()
    if count > _LISTED_MAX:
        return {"faults": [f"{count} values are wrong"]}
    # Pydantic's messages say what would be right; the models of version 0.3 add none that quote.
    listed = error.errors(include_url=False, include_context=False, include_input=False)
    return {
        "faults": [
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in listed[:FAULTS_MAX]
        ]
    }
