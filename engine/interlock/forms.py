"""What an answer, an argument or a result has to look like, and what is wrong with one.

For adapters: they show the schema of a form in their protocol's way, and check what comes in.
"""

from interlock._form import Form, FormLike, form_of
from interlock._schema import check_schema, problems_of, target_of

__all__ = ["Form", "FormLike", "check_schema", "form_of", "problems_of", "target_of"]
