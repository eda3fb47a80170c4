"""Callers with keys, and clients that send them."""

from collections.abc import Callable
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from cli.keys import Allowance, create_caller
from shared.callers.api_keys import Scope
from shared.services import Services
from tests.answers import JOBS
from tests.conftest import photo_bytes
from web.app import create_app

BOTH = Allowance((Scope.SUBMIT, Scope.READ))
HOUR = timedelta(hours=1)


@pytest.fixture
def caller(guarded: Services, key_file: Path) -> Callable[..., FlaskClient]:
    """Create callers, and clients that send their keys."""

    def make(name: str, *scopes: Scope, **limits: float) -> FlaskClient:
        allowance = Allowance(scopes or BOTH.scopes, **limits)  # type: ignore[arg-type]
        key, _ = create_caller(key_file, name, allowance, expires_in=None)
        return showing(guarded, key)

    return make


def showing(services: Services, key: str) -> FlaskClient:
    client = create_app(services).test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
    return client


def send(client: FlaskClient, headers: dict[str, str] | None = None, *, seed: int = 0) -> TestResponse:
    return client.post(JOBS, data={"photo": (BytesIO(photo_bytes(seed=seed)), "a.png")}, headers=headers)
