"""What the application that answers works with."""

from typing import TYPE_CHECKING, cast

from flask import current_app

if TYPE_CHECKING:
    from shared.services import Services


def services() -> "Services":
    """Everything this process works with."""
    return cast("Services", current_app.extensions["sakuga"])
