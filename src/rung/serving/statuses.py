"""The one table from errors to HTTP statuses on the inference path."""

from __future__ import annotations

from rung.core.errors import RungError

_KINDS = {"not_found": 404, "invalid": 400, "denied": 403, "conflict": 409, "already_exists": 409, "unavailable": 503}
_CODES = {
    "governance.bad_token": 401,
    "request.too_large": 413,
    "serving.no_method": 405,
    "request.media_type": 415,
    "request.encoding": 415,
    "request.timeout": 408,
    "serving.rate_limited": 429,
    "serving.quota": 429,
    "serving.timeout": 504,
    "serving.model_timeout": 504,
}
_AGAIN = {"serving.busy": 1, "serving.loading": 1, "serving.log_unwritable": 1, "serving.rate_limited": 1}


def status_of(error: RungError) -> int:
    """The HTTP status of an error: by its code where that says more, else by its class."""
    return _CODES.get(error.code) or _KINDS.get(error.kind, 500)


def retry_after_s(error: RungError) -> int | None:
    """Whole seconds after which the same request may succeed; None when waiting does not help, or nobody can say."""
    told = getattr(error, "retry_after_s", None)
    if told is not None:
        return max(1, int(told))
    return _AGAIN.get(error.code)
