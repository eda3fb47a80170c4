"""The decorator that validates a request is the one that describes it, so the OpenAPI document cannot drift."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import wraps
from typing import Any

from flask import request
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import RequestEntityTooLarge

from shared.callers.api_keys import Scope
from shared.errors import BadRequestError, InvalidValueError, UnknownFieldError
from shared.validation import allowed
from web.schemas import NoOptions

View = Callable[..., Any]
Schema = dict[str, Any]
Content = type[BaseModel] | str | None
"""A JSON model, the content type of something else, or nothing."""
Answers = Mapping[int, Content | tuple[Content, ...]]
"""By status; a client chooses among several with `Accept`."""

JSON_BYTES = 1 << 20  # as objects it takes thirty times the memory; a full list of digests has two thirds of this
MAX_SENTENCES = 5  # about what is wrong with a request: each tells of a name or value, however many it has
MAX_NAME = 100  # characters of such a name
_UNKNOWN = "extra_forbidden"  # as pydantic calls a field that is none of the model's


class Takes(Enum):
    """The kinds of request bodies."""

    NOTHING = auto()
    JSON = auto()  # the options
    PHOTO = auto()  # as a form with the options, or as the body itself
    IMAGE = auto()  # as the body itself
    PHOTOS = auto()  # as a form


class Access(Enum):
    """The access that a view requires, where the service requires keys."""

    ANYBODY = auto()
    CALLER = auto()  # whatever a caller's scopes
    SUBMIT = Scope.SUBMIT
    READ = Scope.READ
    OPERATE = Scope.OPERATE

    @property
    def scope(self) -> Scope | None:
        return self.value if isinstance(self.value, Scope) else None


@dataclass(frozen=True, slots=True)
class Operation:
    """The description of a view: in words, options, responses and their headers by status, problems, access."""

    summary: str
    options: type[BaseModel]
    answers: Answers
    problems: tuple[int, ...]
    takes: Takes
    headers: Mapping[str, str] = field(default_factory=dict)
    sends: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    access: Access = Access.CALLER
    description: str = ""


@dataclass(frozen=True, slots=True)
class Webhook:
    """The description of a webhook message."""

    summary: str
    description: str
    body: type[BaseModel]
    headers: Mapping[str, str]


def operation(  # noqa: PLR0913  all but the first are named
    summary: str,
    *,
    answers: Answers,
    options: type[BaseModel] = NoOptions,
    problems: tuple[int, ...] = (),
    takes: Takes = Takes.NOTHING,
    headers: Mapping[str, str] | None = None,
    sends: Mapping[int, tuple[str, ...]] | None = None,
    access: Access = Access.CALLER,
    description: str = "",
) -> Callable[[View], View]:
    """Validate what is given (the query; where they are taken the form, the JSON) and describe the view by the same."""
    described = Operation(summary, options, answers, problems, takes, headers or {}, sends or {}, access, description)

    def decorate(view: View) -> View:
        @wraps(view)
        def validated(**path: str) -> Any:  # noqa: ANN401  what Flask takes for a response
            if options is NoOptions or takes is Takes.JSON:
                _validate(NoOptions, request.args.to_dict())
            if options is NoOptions:
                return view(**path)
            return view(options=_validate(options, _given(takes)), **path)

        validated.operation = described  # type: ignore[attr-defined]
        return validated

    return decorate


def _given(takes: Takes) -> dict[str, Any]:
    if takes is Takes.JSON:
        return _json_object()
    given = request.args.to_dict()
    if takes is Takes.PHOTO:
        given |= request.form.to_dict()
        given.pop("photo", None)  # sent as text by mistake: the view says what it should be
    return given


def _json_object() -> dict[str, Any]:
    request.max_content_length = JSON_BYTES
    try:
        body = request.get_json(force=True, silent=True) if request.get_data(cache=True) else {}
    except RequestEntityTooLarge as error:
        raise BadRequestError(f"The JSON body may be at most {JSON_BYTES >> 20} MiB.") from error
    except RecursionError as error:
        raise BadRequestError("The JSON is nested too deeply.") from error
    if not isinstance(body, dict):
        raise BadRequestError("Send a JSON object.")
    return body


def _validate(model: type[BaseModel], given: dict[str, Any]) -> BaseModel:
    try:
        return model.model_validate(given)
    except ValidationError as error:
        problems = error.errors()[:MAX_SENTENCES]
        kind = UnknownFieldError if all(item["type"] == _UNKNOWN for item in problems) else InvalidValueError
        raise kind(" ".join(_sentence(model, item) for item in problems)) from error


def _sentence(model: type[BaseModel], item: Mapping[str, Any]) -> str:
    name = ".".join(str(part) for part in item["loc"])[:MAX_NAME]
    if item["type"] == _UNKNOWN:
        known = ", ".join(model.model_fields)
        return f"{name}: unknown field; {f'allowed are {known}' if known else 'no query parameters are allowed here'}."
    return f"{name} must be {allowed(item)}."
