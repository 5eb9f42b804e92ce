"""Types of join keys in JSON: what requests may hold, and what answers say."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, GetPydanticSchema, StrictStr, StringConstraints, WithJsonSchema
from pydantic_core import core_schema

from contract.feature_schema import KeyDtype
from contract.keys import EXACT_IN_JSON

_DECIMAL = "^(0|-?[1-9][0-9]{0,18})$"
_TextKey = Annotated[StrictStr, StringConstraints(min_length=1, max_length=256)]


@dataclass(frozen=True)
class KeyType:
    """One type of join keys.

    asked: what a request may hold; a whole number also as decimal text.
    answered: what an answer says.
    examples: of what a request holds.
    """

    asked: Any
    answered: Any
    examples: list[str | int]


def _whole_number(dtype: KeyDtype, bits: int) -> Any:
    least, most = -(2**bits), 2**bits - 1

    def of_text(text: str) -> int:
        number = int(text)
        if not least <= number <= most:
            raise ValueError
        return number

    number = core_schema.int_schema(strict=True, ge=least, le=most)
    text = core_schema.no_info_after_validator_function(of_text, core_schema.str_schema(strict=True, pattern=_DECIMAL))
    either = core_schema.union_schema(
        [number, text],
        mode="left_to_right",
        custom_error_type="key",  # one error for both, so that its place is the member's
        custom_error_message=f"must be a whole number ({dtype}: from -2^{bits} to 2^{bits} - 1), or its decimal text",
    )
    return Annotated[int, GetPydanticSchema(lambda _source, _handler: either)]


_AnsweredInt64 = Annotated[
    int | str,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": -EXACT_IN_JSON, "maximum": EXACT_IN_JSON},
                {"type": "string", "pattern": _DECIMAL, "description": "decimal text of a number beyond"},
            ]
        }
    ),
]

KEY_TYPES: Mapping[KeyDtype, KeyType] = {
    "string": KeyType(_TextKey, str, ["00042", "00007"]),
    "int32": KeyType(_whole_number("int32", 31), Annotated[int, Field(ge=-(2**31), lt=2**31)], [42, 7]),
    "int64": KeyType(_whole_number("int64", 63), _AnsweredInt64, [42, 7]),
}
