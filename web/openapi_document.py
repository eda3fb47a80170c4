"""The OpenAPI document, built from what `web.openapi.operation` knows of every view."""

import re
from collections.abc import Callable, Mapping

from flask import Flask
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from werkzeug.routing import Rule

from web.openapi import Access, Content, Operation, Schema, Takes, Webhook
from web.schemas import Problem
from web.sessions import COOKIE

_REF = "#/components/schemas/{model}"
_LICENCE = {"name": "MIT", "identifier": "MIT"}
_PHOTO = {"type": "string", "contentMediaType": "application/octet-stream"}


def document(
    app: Flask, *, title: str, version: str, description: str, webhooks: Mapping[str, Webhook] | None = None
) -> Schema:
    """Build the OpenAPI 3.1 document of every view that `operation` decorates, and of the webhooks by their events."""
    called = webhooks or {}
    described = [(rule, found) for rule in app.url_map.iter_rules() if (found := _operation_of(app, rule))]
    models = {model for _, operation_ in described for model in _models(operation_)} | {Problem}
    models |= {webhook.body for webhook in called.values()}
    _, definitions = models_json_schema(
        [(model, "serialization") for model in sorted(models, key=lambda model: model.__name__)], ref_template=_REF
    )
    paths: dict[str, Schema] = {}
    for rule, operation_ in sorted(described, key=lambda pair: _place(pair[0])):
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            paths.setdefault(path, {})[method.lower()] = _describe(rule, operation_)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": description, "license": _LICENCE},
        "paths": paths,
        "webhooks": {name: {"post": _describe_webhook(name, webhook)} for name, webhook in called.items()},
        "components": {"schemas": definitions["$defs"], "securitySchemes": _SECURITY_SCHEMES},
    }


def _place(rule: Rule) -> tuple[bool, str, bool]:
    """Return where a rule goes in the document: first of all comes what converts a photo."""
    return not rule.rule.startswith("/api/v1/jobs"), rule.rule, "POST" not in (rule.methods or set())


def _operation_of(app: Flask, rule: Rule) -> Operation | None:
    return getattr(app.view_functions[rule.endpoint], "operation", None)


def _models(operation_: Operation) -> list[type[BaseModel]]:
    return [one for answer in operation_.answers.values() for one in _contents(answer) if isinstance(one, type)]


def _describe(rule: Rule, operation_: Operation) -> Schema:
    path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in sorted(rule.arguments)
    ]
    content = _CONTENT[operation_.takes](operation_.options)
    may_be_empty = operation_.takes is Takes.JSON and not _required(operation_.options)
    body = {"requestBody": {"required": not may_be_empty, "content": content}} if content else {}
    return {
        "operationId": rule.endpoint.rsplit(".", 1)[-1],
        "tags": [rule.endpoint.split(".", maxsplit=1)[0]],
        "summary": operation_.summary,
        **({"description": operation_.description} if operation_.description else {}),
        "parameters": [*path, *_query(operation_), *_headers(operation_.headers, required=False)],
        **body,
        "responses": _answers(operation_) | _problems(operation_),
        "security": _security(operation_.access),
    }


def _security(access: Access) -> list[Schema]:
    """Return the security requirements of an operation: none where anybody has access."""
    scopes = [access.scope.value] if access.scope else []
    return [] if access is Access.ANYBODY else [{name: scopes} for name in _SECURITY_SCHEMES]


def _describe_webhook(name: str, webhook: Webhook) -> Schema:
    body = {"application/json": {"schema": {"$ref": _REF.format(model=webhook.body.__name__)}}}
    return {
        "operationId": name,
        "tags": ["webhooks"],
        "summary": webhook.summary,
        "description": webhook.description,
        "parameters": _headers(webhook.headers, required=True),
        "requestBody": {"required": True, "content": body},
        "responses": {"2XX": {"description": "Acknowledged"}},
    }


def _headers(meanings: Mapping[str, str], *, required: bool) -> list[Schema]:
    return [
        {"name": name, "in": "header", "required": required, "description": text, "schema": {"type": "string"}}
        for name, text in meanings.items()
    ]


def _query(operation_: Operation) -> list[Schema]:
    if operation_.takes is Takes.JSON:
        return []
    return [
        {"name": name, "in": "query", "required": False, "schema": value}
        for name, value in _fields(operation_.options).items()
    ]


def _photo_form(options: type[BaseModel]) -> Schema:
    form = _object(["photo"], {"photo": _PHOTO, **_fields(options)})
    return {"multipart/form-data": {"schema": form}, "image/*": {"schema": {}}}


def _photos_form(_: type[BaseModel]) -> Schema:
    photos = {"type": "array", "items": _PHOTO}
    return {
        "multipart/form-data": {"schema": {"type": "object", "required": ["photos"], "properties": {"photos": photos}}}
    }


def _json_body(options: type[BaseModel]) -> Schema:
    return {"application/json": {"schema": _object(_required(options), _fields(options))}}


def _required(options: type[BaseModel]) -> list[str]:
    return [name for name, one in options.model_fields.items() if one.is_required()]


def _object(required: list[str], properties: Schema) -> Schema:
    """Return the schema of an object with these fields and no others, as all models of options require."""
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


_CONTENT: Mapping[Takes, Callable[[type[BaseModel]], Schema]] = {
    Takes.NOTHING: lambda _: {},
    Takes.JSON: _json_body,
    Takes.PHOTO: _photo_form,
    Takes.IMAGE: lambda _: {"image/*": {"schema": {}}},
    Takes.PHOTOS: _photos_form,
}


def _fields(options: type[BaseModel]) -> Schema:
    schema = options.model_json_schema()
    return {name: _inline(value, schema) for name, value in schema.get("properties", {}).items()}


def _inline(value: Schema, schema: Schema) -> Schema:
    """Replace references into the model's own definitions, which the document does not carry."""
    merged = {**value}
    if reference := merged.pop("$ref", None):
        merged = {**schema["$defs"][reference.rsplit("/", 1)[-1]], **merged}
    return merged


def _answers(operation_: Operation) -> Schema:
    return {
        str(status): _answer(status, answer, operation_.sends.get(status, ()))
        for status, answer in operation_.answers.items()
    }


def _answer(status: int, answer: Content | tuple[Content, ...], sends: tuple[str, ...]) -> Schema:
    headers = " and ".join(f"{name} {_SENT[name]}" for name in sends)
    described: Schema = {"description": _PHRASES.get(status, "OK") + (f"; {headers}" if headers else "")}
    if sends:
        described["headers"] = {name: {"schema": {"type": "string"}} for name in sends}
    if contents := _contents(answer):
        described["content"] = dict(map(_content, contents))
    return described


def _contents(answer: Content | tuple[Content, ...]) -> list[type[BaseModel] | str]:
    return [one for one in (answer if isinstance(answer, tuple) else (answer,)) if one is not None]


def _content(content: type[BaseModel] | str) -> tuple[str, Schema]:
    """Return a content type and what the document says of it."""
    if not isinstance(content, str):
        return "application/json", {"schema": {"$ref": _REF.format(model=content.__name__)}}
    # OpenAPI 3.1 has no schema for a stream of events, and readers differ in what they take one to be of.
    return content, {} if content == "text/event-stream" else {"schema": {"type": "string"}}


def _problems(operation_: Operation) -> Schema:
    content = {"application/problem+json": {"schema": {"$ref": _REF.format(model="Problem")}}}
    # what unknown fields of a query get, and who has no key for it
    slowly = () if operation_.takes is Takes.NOTHING else (408,)
    statuses = {*operation_.problems, *slowly, 422, *_REFUSALS[operation_.access is Access.ANYBODY]}
    return {str(status): {"description": _PHRASES[status], "content": content} for status in sorted(statuses)}


_REFUSALS = {True: (), False: (401, 403, 429)}
_SECURITY_SCHEMES: Schema = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, where the operator of the service requires one.",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": COOKIE,
        "description": "The session of a user who signed in on the page with an API key.",
    },
}

_SENT = {"Location": "is its URL", "Retry-After": "says when to poll"}
_PHRASES = {
    200: "OK",
    201: "Created",
    202: "Accepted",
    204: "No content",
    206: "The requested range of the picture",
    303: "Location is a URL of the picture, valid for five minutes",
    304: "Not modified",
    400: "Malformed request",
    401: "API key missing, invalid or revoked",
    403: "The key lacks the required scope, or the request comes from another web site",
    404: "Not found",
    406: "Nothing that Accept includes is available",
    408: "Request too slow",
    409: "Not possible in the job's state",
    410: "Expired",
    412: "If-Match or If-Unmodified-Since does not match",
    413: "Too many bytes or megapixels",
    415: "Not an image, or an unsupported format",
    416: "The range is beyond the end of the picture",
    422: "A damaged image, an unknown style or field, or a value out of range",
    429: "Rate limit or quota exceeded; Retry-After says when to try again",
    503: "Queue full or service unavailable; Retry-After says when to try again",
}
