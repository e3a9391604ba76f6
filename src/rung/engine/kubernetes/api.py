"""The API of Kubernetes, as far as jobs need it: create, list, logs, delete; from inside a pod or by a kubeconfig."""

from __future__ import annotations

import base64
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung.core.errors import Invalid, Unavailable

if TYPE_CHECKING:
    import ssl

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TIMEOUT_S = 30.0
_LOG_BYTES = 64 << 20
_GONE = 404
_REFUSED = 400


class Api:
    """One namespace of a cluster."""

    def __init__(self, url: str = "", namespace: str = "default") -> None:
        import httpx  # noqa: PLC0415 - only this executor needs it

        self._errors = httpx.HTTPError
        self._token = Path()
        address, context, headers = (url, None, {}) if url else _in_pod() or _from_kubeconfig()
        self._client = httpx.Client(base_url=address, verify=context if context is not None else True, headers=headers, timeout=_TIMEOUT_S)
        self._inside = not url and headers == {}
        self.namespace = namespace

    def create(self, job: dict[str, Any]) -> None:
        """Submit a job. Raises Invalid when the cluster refuses it."""
        self._asked("POST", self._jobs(), json=job)

    def jobs(self, selector: str) -> list[dict[str, Any]]:
        """Jobs by label."""
        return _items(self._asked("GET", self._jobs(), params={"labelSelector": selector}))

    def pods(self, selector: str) -> list[dict[str, Any]]:
        """Pods by label."""
        return _items(self._asked("GET", self._pods(), params={"labelSelector": selector}))

    def log(self, pod: str) -> bytes:
        """What a pod has said so far; empty while it has not begun."""
        try:
            answer = self._client.get(f"{self._pods()}/{pod}/log", params={"limitBytes": str(_LOG_BYTES)}, headers=self._headers())
        except self._errors:
            return b""
        return answer.content if answer.status_code < _REFUSED else b""

    def delete(self, name: str) -> None:
        """End a job and its pods; one that has gone is no error."""
        self._asked("DELETE", f"{self._jobs()}/{name}", params={"propagationPolicy": "Background"}, gone_is_fine=True)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _jobs(self) -> str:
        return f"/apis/batch/v1/namespaces/{self.namespace}/jobs"

    def _pods(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods"

    def _headers(self) -> dict[str, str]:
        """The pod's own token, read anew each time: the cluster replaces it every hour."""
        token = _ACCOUNT / "token"
        return {"Authorization": f"Bearer {token.read_text('ascii').strip()}"} if self._inside and token.is_file() else {}

    def _asked(self, method: str, path: str, *, gone_is_fine: bool = False, **options: Any) -> Any:
        try:
            answer = self._client.request(method, path, headers=self._headers(), **options)
        except self._errors as error:
            raise Unavailable(
                f"The Kubernetes API does not answer: {error}.", code="engine.no_kubernetes", hint="Check engine.kubernetes_url."
            ) from None
        if answer.status_code == _GONE and gone_is_fine:
            return {}
        if answer.status_code >= _REFUSED:
            try:
                said = str(answer.json()["message"])
            except (ValueError, KeyError, TypeError):
                said = answer.text[:500]
            raise Invalid(
                f"Kubernetes refuses {method} {path}: {answer.status_code} {said}", code="engine.kubernetes_refused",
                hint="Check the account's role, the namespace and engine.kubernetes_image.",
            )  # fmt: skip
        return answer.json()


def _items(answer: Any) -> list[dict[str, Any]]:
    found = answer.get("items") if isinstance(answer, dict) else None
    return [item for item in found or [] if isinstance(item, dict)]


def _in_pod() -> tuple[str, ssl.SSLContext | None, dict[str, str]] | None:
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not (_ACCOUNT / "token").is_file():
        return None
    import ssl  # noqa: PLC0415 - every command that runs steps knows this executor, few reach a cluster

    return f"https://{f'[{host}]' if ':' in host else host}:{port}", ssl.create_default_context(cafile=str(_ACCOUNT / "ca.crt")), {}


def _from_kubeconfig() -> tuple[str, ssl.SSLContext | None, dict[str, str]]:
    """Address, trust and token of the current context. Raises Invalid for what this cannot use."""
    path = Path(os.environ.get("KUBECONFIG", "").partition(os.pathsep)[0] or Path.home() / ".kube" / "config")
    hint = 'Run `kubectl proxy` and set engine.kubernetes_url = "http://127.0.0.1:8001".'
    if not path.is_file():
        raise Unavailable(f"There is no Kubernetes here: no pod's account, and no {path}.", code="engine.no_kubernetes", hint=hint)
    import ssl  # noqa: PLC0415 - see above

    import yaml  # noqa: PLC0415 - see above

    try:
        config = yaml.safe_load(path.read_text("utf-8"))
        context = _named(config, "contexts", config["current-context"])["context"]
        cluster, user = _named(config, "clusters", context["cluster"])["cluster"], _named(config, "users", context["user"])["user"]
        trust = ssl.create_default_context(cadata=_text(cluster, "certificate-authority", path))
        if "client-certificate" in user or "client-certificate-data" in user:
            with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
                file.write(f"{_text(user, 'client-certificate', path)}\n{_text(user, 'client-key', path)}")
                file.flush()
                trust.load_cert_chain(file.name)
            return str(cluster["server"]), trust, {"Accept": "application/json"}
        return str(cluster["server"]), trust, {"Authorization": f"Bearer {user['token']}"}
    except (KeyError, TypeError, ValueError, OSError, yaml.YAMLError) as error:
        raise Invalid(f"{path} cannot be used: {type(error).__name__}: {error}.", code="engine.bad_kubeconfig", hint=hint) from None


def _named(config: Any, kind: str, name: str) -> Any:
    found = [entry for entry in config[kind] if entry["name"] == name]
    if not found:
        raise KeyError(f"{name} in {kind}")
    return found[0]


def _text(section: Any, name: str, config: Path) -> str | None:
    if f"{name}-data" in section:
        return base64.b64decode(section[f"{name}-data"]).decode()
    return (config.parent / section[name]).read_text("utf-8") if name in section else None
