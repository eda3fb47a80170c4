"""Access to the services of the current application, and to the client of the current request."""

from typing import TYPE_CHECKING, cast

from flask import current_app, request

from web.slow_clients import ClientSocket

if TYPE_CHECKING:
    from shared.services import Services


def services() -> "Services":
    """Return the services of the current application."""
    return cast("Services", current_app.extensions["sakuga"])


def client_socket() -> ClientSocket | None:
    """Return the connection to the client; None under a server other than our own, as in tests."""
    connection = request.environ.get("gunicorn.socket")
    return connection if isinstance(connection, ClientSocket) else None
