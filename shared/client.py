"""Variables in the environment that are no settings of a service: the commands that use one read them."""

from typing import Final

CLIENT_KEY: Final = "SAKUGA_API_KEY"  # what they show it
CLIENT_SERVER: Final = "SAKUGA_SERVER"  # which one that is
