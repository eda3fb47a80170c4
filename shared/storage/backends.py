"""The choice of the storage backend."""

from pathlib import Path
from urllib.parse import urlsplit

from shared.errors import SettingsError
from shared.settings import Settings
from shared.storage.base import Store
from shared.storage.disk import DiskStore
from shared.storage.s3 import S3Store


def open_store(settings: Settings) -> Store:
    """Open the store that `SAKUGA_STORE_URL` names: `file:/some/folder` or `s3://bucket/prefix`."""
    url = settings.effective_store_url
    if url.startswith("file:"):
        return DiskStore(Path(url.removeprefix("file:").removeprefix("//")))
    parts = urlsplit(url)
    if not parts.netloc:
        raise SettingsError("SAKUGA_STORE_URL: an s3 store needs a bucket: s3://bucket/prefix")
    return S3Store(parts.netloc, parts.path.strip("/"), public_url=settings.store_public_url or None)
