"""`python -m worker.prepare`: build the artefacts of all styles, so that no photo waits for one.

A worker node starts this beside its work, at the lowest priority; what is there already is left alone.
"""

import os
import sys


def main() -> None:
    from shared.engines import EngineName
    from shared.errors import SakugaError
    from shared.settings import load_settings
    from shared.styles import installed_styles
    from shared.telemetry import configure_logs
    from worker.model_loader import loader_for

    os.nice(19)
    try:
        settings = load_settings()
        if settings.engine is EngineName.TORCH:
            return  # it draws with the weights themselves
        configure_logs(settings.log_level)
        styles = installed_styles(settings.data_dir)
        models = loader_for(settings, styles, threads=1, memory=0)
        for name in styles:
            models.prepare(name)
    except SakugaError as error:
        sys.exit(f"sakuga worker: {error.detail}")


if __name__ == "__main__":
    main()
