"""`python -m worker.prepare`: build the artefacts of all styles, so that no photo waits for one.

A worker node starts this beside its work, at the lowest priority; what is there already is left alone. A style that
cannot be prepared keeps none of the others from it; it is logged, and the exit code is 1.
"""

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from shared.styles import Style
    from worker.model_loader import ModelLoader


class Preparation:
    """Prepares all styles of a node in a process of its own, and again when there are others."""

    def __init__(self, styles: "Mapping[str, Style]") -> None:
        """Prepare `styles` as they are when it is called."""
        self._styles = styles
        self._prepared: list[Style] = []
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> None:
        """Start the process if the styles have changed; one that has ended leaves no zombie."""
        if self._process and self._process.poll() is None:
            return
        styles = list(self._styles.values())
        if styles != self._prepared:
            self._prepared = styles
            self._process = subprocess.Popen([sys.executable, "-m", "worker.prepare"], stdin=subprocess.DEVNULL)

    def stop(self) -> None:
        if self._process:
            self._process.terminate()


def main() -> None:
    from shared.engines import EngineName
    from shared.errors import SakugaError
    from shared.settings import load_settings
    from shared.styles import installed_styles
    from shared.telemetry import configure_logs
    from worker.model_loader import loader_for

    os.nice(19)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # an exit like any other ends the builder with it
    try:
        settings = load_settings()
        if settings.engine is EngineName.TORCH:
            return  # it draws with the weights themselves
        configure_logs(settings.log_level)
        styles = installed_styles(settings.data_dir)
        models = loader_for(settings, styles, threads=1, memory=0)
        sys.exit(1 if prepare_all(styles, models) else 0)
    except SakugaError as error:
        sys.exit(f"sakuga worker: {error.detail}")


def prepare_all(names: "Iterable[str]", models: "ModelLoader") -> list[str]:
    """Prepare one style after the other; returns those that cannot be.

    Raises:
        SettingsError: nothing can be prepared on this machine.
    """
    import structlog

    from shared.errors import EngineError, UnknownStyleError, WeightsError

    failed = []
    for name in names:
        try:
            models.prepare(name)
        except (EngineError, UnknownStyleError, WeightsError) as error:  # unknown: removed meanwhile
            structlog.get_logger().warning(
                "failed to prepare a style", style=name, reason=error.detail, cause=str(error.__cause__)
            )
            failed.append(name)
    return failed


if __name__ == "__main__":
    main()
