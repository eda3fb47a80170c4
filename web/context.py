"""Access to the services of the current application."""

from typing import TYPE_CHECKING, cast

from flask import current_app

if TYPE_CHECKING:
    from shared.services import Services


def services() -> "Services":
    """Return the services of the current application."""
    return cast("Services", current_app.extensions["sakuga"])
