"""Every error a user may see: its stable code, its HTTP status, whether trying again can help.

The sentence in `detail` is public: it never carries a path, a key or a trace. Foreign errors are translated in the
module that calls the foreign library. Imports nothing of ours.
"""

from typing import ClassVar


class SakugaError(Exception):
    """Base of the tree. `detail` says what is wrong and what is allowed."""

    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Something went wrong on our side"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str, *, retry_after_s: int | None = None) -> None:
        """Say `detail` to the user; `retry_after_s` is when another try may succeed, if that is known."""
        super().__init__(detail)
        self.detail = detail
        self.retry_after_s = retry_after_s


def public_errors() -> list[type[SakugaError]]:
    """Every kind of error a client of the API may meet, by code."""
    return sorted((kind for kind in _kinds_of(SakugaError) if kind is not SettingsError), key=lambda kind: kind.code)


def _kinds_of(kind: type[SakugaError]) -> list[type[SakugaError]]:
    below = [found for child in kind.__subclasses__() for found in _kinds_of(child)]
    return [kind, *below] if "code" in vars(kind) else below


class SettingsError(SakugaError):
    code = "settings_invalid"
    title = "Invalid settings"


class BadRequestError(SakugaError):
    code = "bad_request"
    title = "Malformed request"
    status = 400


class TooSlowError(SakugaError):
    code = "too_slow"
    title = "Request too slow"
    status = 408
    retryable = True


class UnauthorizedError(SakugaError):
    code = "unauthorized"
    title = "API key required"
    status = 401


class ForbiddenError(SakugaError):
    code = "forbidden"
    title = "Permission denied"
    status = 403


class TooManyRequestsError(SakugaError):
    code = "too_many_requests"
    title = "Too many requests"
    status = 429
    retryable = True


class QuotaExceededError(SakugaError):
    code = "quota_exceeded"
    title = "Quota exceeded"
    status = 429
    retryable = True


class CrossSiteError(SakugaError):
    code = "cross_site"
    title = "Cross-site request"
    status = 403


class InvalidValueError(SakugaError):
    code = "invalid_value"
    title = "Invalid value"
    status = 422


class UnknownFieldError(InvalidValueError):
    code = "unknown_field"
    title = "Unknown field"


class UnknownStyleError(InvalidValueError):
    code = "unknown_style"
    title = "Unknown style"


class UnknownPreviewError(SakugaError):
    code = "unknown_preview"
    title = "Preview not found"
    status = 404


class UnknownRouteError(SakugaError):
    code = "not_found"
    title = "Not found"
    status = 404


class MethodNotAllowedError(SakugaError):
    code = "method_not_allowed"
    title = "Method not allowed"
    status = 405


class NotAcceptableError(SakugaError):
    code = "not_acceptable"
    title = "No acceptable format"
    status = 406


class IdempotencyKeyReusedError(SakugaError):
    code = "idempotency_key_reused"
    title = "Idempotency-Key reused with a different payload"
    status = 422


class PhotoTooLargeError(SakugaError):
    code = "photo_too_large"
    title = "The photo is too large"
    status = 413


class NotAPhotoError(SakugaError):
    code = "not_a_photo"
    title = "We can't read this file as an image"
    status = 415


class UnreadPhotoError(NotAPhotoError):
    """A picture, but of a kind that is not read, which whoever sends it among others should know."""


class DamagedPhotoError(SakugaError):
    code = "damaged_photo"
    title = "The photo is damaged"
    status = 422


class UnusablePhotoError(SakugaError):
    code = "unusable_photo"
    title = "The photo cannot be converted"
    status = 422


class PictureTooLargeError(SakugaError):
    code = "picture_too_large"
    title = "The picture is too large for this service's memory"
    status = 422


class UnknownJobError(SakugaError):
    code = "unknown_job"
    title = "Job not found"
    status = 404


class UnreadableJobError(UnknownJobError):
    """Its record is damaged."""


class NotReadyError(SakugaError):
    code = "not_ready"
    title = "The picture is not ready yet"
    status = 409


class NoResultError(SakugaError):
    code = "no_result"
    title = "This job has no picture"
    status = 409


class ExpiredError(SakugaError):
    code = "expired"
    title = "The picture has expired"
    status = 410


class UnknownAlbumError(SakugaError):
    code = "unknown_album"
    title = "Album not found"
    status = 404


class AlbumFullError(SakugaError):
    code = "album_full"
    title = "The album is full"
    status = 413


class ArchiveError(SakugaError):
    code = "bad_archive"
    title = "The archive cannot be used"
    status = 422


class QueueFullError(SakugaError):
    code = "queue_full"
    title = "The queue is full"
    status = 503
    retryable = True


class UnavailableError(SakugaError):
    """A part the service needs (Redis, the store) does not answer."""

    code = "unavailable"
    title = "Service temporarily unavailable"
    status = 503
    retryable = True


class NewerRecordError(UnavailableError):
    """A newer release wrote it, and beside this process there is one that can read it."""


class WeightsError(SakugaError):
    """A weights file that is missing, damaged, of another architecture or not the one its manifest names."""

    code = "weights_invalid"
    title = "The weights cannot be used"


class EngineError(SakugaError):
    """The engine failed, or draws a wrong picture on this machine; another node may do better."""

    code = "engine_failed"
    title = "The engine failed"
    retryable = True


class TimedOutError(SakugaError):
    code = "timed_out"
    title = "The conversion took too long"
    status = 504


class AttemptsExhaustedError(SakugaError):
    code = "attempts_exhausted"
    title = "Too many failed attempts"


class OverruledError(SakugaError):
    """Raised where the opposite has been asked since of all photos of an album; no client meets it."""


class CanceledError(SakugaError):
    """Raised between two stages when the job's owner has canceled it."""

    code = "canceled"
    title = "The job was canceled"
    status = 409
