"""The settings of this machine, for commands: what reads them takes longer to import than `--help` should."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.settings import Settings


def load_settings(**overrides: object) -> "Settings":
    """Read the environment. `overrides` win over it.

    Raises:
        SettingsError: naming every variable that is unknown or out of range, and what is allowed.
    """
    from shared import settings

    return settings.load_settings(**overrides)
