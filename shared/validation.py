"""Describing in words what pydantic would have accepted."""

from collections.abc import Mapping
from typing import Any, Final

SHA256_PATTERN: Final = "^[0-9a-f]{64}$"

OTHERWISE: Final = "allowed_otherwise"
"""The type of a problem that says itself what is `allowed`."""

_PATTERNS: Final = {SHA256_PATTERN: "64 hexadecimal digits"}
_ALLOWED: Final = {
    "enum": "one of {expected}",
    "literal_error": "one of {expected}",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "bool_parsing": "true or false",
    "greater_than": "above {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "string_too_long": "at most {max_length} characters long",
    "string_pattern_mismatch": "{pattern}",
    "too_long": "a list of at most {max_length}",
    "list_type": "a list",
    "missing": "given",
    "string_type": "text",
    OTHERWISE: "{allowed}",
}


def allowed(problem: Mapping[str, Any]) -> str:
    """Complete a sentence that ends in "must be" for one of pydantic's problems."""
    context = {name: _word(value) for name, value in problem.get("ctx", {}).items()}
    return _ALLOWED.get(problem["type"], "valid ({msg})").format(msg=problem["msg"], **context)


def _word(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return _PATTERNS.get(str(value), str(value).replace("'", ""))
