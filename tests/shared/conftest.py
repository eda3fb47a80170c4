"""Fixtures of the tests of `shared/`."""

import pytest

from shared.services import Services
from tests.albums import album, client  # noqa: F401  fixtures
from tests.callers import caller  # noqa: F401  a fixture
from tests.submitting import have_processes_for


@pytest.fixture
def _workers(services: Services) -> None:
    have_processes_for(services, 3)
