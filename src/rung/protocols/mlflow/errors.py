"""MLflow's error codes for our error classes, and the few of our codes that MLflow knows by another name."""

from __future__ import annotations

from rung.core.errors import RungError

# Class -> (HTTP status, error code); a test asks that all six are here.
CODES: dict[str, tuple[int, str]] = {
    "not_found": (404, "RESOURCE_DOES_NOT_EXIST"),
    "already_exists": (400, "RESOURCE_ALREADY_EXISTS"),
    "invalid": (400, "INVALID_PARAMETER_VALUE"),
    "conflict": (400, "INVALID_PARAMETER_VALUE"),
    "denied": (403, "PERMISSION_DENIED"),
    "unavailable": (503, "TEMPORARILY_UNAVAILABLE"),
}
# Ours -> theirs, where the client acts on the difference.
_SPECIAL: dict[str, tuple[int, str]] = {
    "governance.bad_token": (401, "UNAUTHENTICATED"),
    "governance.no_token": (401, "UNAUTHENTICATED"),
    "registry.no_alias": (400, "INVALID_PARAMETER_VALUE"),
    "registry.protected_alias": (403, "PERMISSION_DENIED"),
    "storage.lost_race": (409, "RESOURCE_CONFLICT"),
    "storage.conflict": (409, "RESOURCE_CONFLICT"),
    "mlflow.not_offered": (501, "NOT_IMPLEMENTED"),
    "mlflow.no_endpoint": (404, "ENDPOINT_NOT_FOUND"),
}
_LONGEST = 2000  # a value that is quoted back may itself be long


def told(error: RungError) -> tuple[int, dict[str, str]]:
    """Status and body of an error. The hint follows the message: the client shows one text only."""
    code_status, code = _SPECIAL.get(error.code) or CODES.get(error.kind, (500, "INTERNAL_ERROR"))
    message = f"{error.message} {error.hint}".strip() if error.hint else error.message
    return code_status, {"error_code": code, "message": message[:_LONGEST]}
