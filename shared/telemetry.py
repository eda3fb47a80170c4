"""Structured logs for every process: an event phrase plus fields.

On a terminal lines are coloured for people; elsewhere they are JSON, one object a line.
"""

import logging
import sys
import warnings

import structlog


def configure_logs(level: str) -> None:
    """Send our own events, those of the libraries and Python's warnings through one formatter to standard error."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    people = sys.stderr.isatty()
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if people else structlog.processors.JSONRenderer()
    )
    last = [] if people else [structlog.processors.format_exc_info]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    remove_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(processors=[remove_meta, *last, renderer], foreign_pre_chain=shared)
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for noisy in ("boto3", "botocore", "urllib3", "PIL", "amqp", "kombu"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    # Pillow's are about damaged metadata, of which any photo may have some; a damaged picture is an error.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    # Each names a size, and Python remembers every text it has warned with: a leak that senders control.
    warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"PIL\.")  # DecompressionBombWarning is one
