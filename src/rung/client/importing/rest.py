"""A running MLflow server, read through its REST API, with the credentials MLflow's own client would take.

Artifacts come through the server too; an address of this machine that a server names is not believed.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import httpx
import msgspec

from rung.client.importing.places import local_files
from rung.client.importing.source import (
    Damaged,
    Point,
    SourceExperiment,
    SourceFile,
    SourceInput,
    SourceLogged,
    SourceMetric,
    SourceModel,
    SourceRun,
    SourceVersion,
)
from rung.core.errors import Denied, Invalid, Unavailable

_API, _AJAX = "/api/2.0/mlflow", "/ajax-api/2.0/mlflow"
_PROXY = "/api/2.0/mlflow-artifacts/artifacts"
_ATTEMPTS = 5
_AGAIN = {408, 429, 500, 502, 503, 504}
_PAGE = 1000
_CHUNK = 1 << 20
_DEEPEST = 64


class RestSource:
    """A server by its address. Raises Denied, Unavailable, Invalid for what is no MLflow server."""

    def __init__(self, url: str, *, token: str = "", user: str = "", password: str = "", destination: Path | None = None) -> None:
        parts = urlsplit(url)
        host = parts.hostname or ""
        self.name = f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}{parts.path.rstrip('/')}"
        self.damage: Callable[[str], None] = lambda _: None
        self._destination = destination
        user, password = unquote(parts.username or "") or user, unquote(parts.password or "") or password
        headers = {"authorization": f"Bearer {token}"} if token and not user else {}
        auth = (user, password) if user else None
        self._http = httpx.Client(base_url=self.name, headers=headers, auth=auth, timeout=120, follow_redirects=False)
        self._get("/experiments/search", max_results=1)

    def experiments(self) -> Sequence[SourceExperiment]:
        """Experiments, oldest first."""
        found = [
            SourceExperiment(
                id=str(item["experiment_id"]), name=item.get("name", ""), tags=_pairs(item.get("tags")), created_ms=_number(item.get("creation_time")),
                updated_ms=_number(item.get("last_update_time")), deleted=item.get("lifecycle_stage") == "deleted",
            )
            for item in self._pages("POST", "/experiments/search", "experiments", view_type="ALL", max_results=_PAGE)
        ]  # fmt: skip
        return sorted(found, key=lambda item: (len(item.id), item.id))

    def count(self, experiment: SourceExperiment, since_ms: int | None) -> int | None:
        """A server does not say."""
        return None

    def runs(self, experiment: SourceExperiment, since_ms: int | None) -> Iterator[SourceRun]:
        """Runs of an experiment, oldest first."""
        query = {"filter": f"attributes.start_time >= {since_ms}"} if since_ms else {}
        for item in self._pages(
            "POST", "/runs/search", "runs", experiment_ids=[experiment.id], run_view_type="ALL", max_results=_PAGE,
            order_by=["attributes.start_time ASC"], **query,
        ):  # fmt: skip
            info, data = item["info"], item.get("data", {})
            run = info.get("run_id") or info.get("run_uuid")
            keys = [metric["key"] for metric in data.get("metrics", ())]
            inputs, outputs = item.get("inputs", {}), item.get("outputs", {})
            models = [("in", link["model_id"], 0) for link in inputs.get("model_inputs", ())]
            models += [("out", link["model_id"], _number(link.get("step")) or 0) for link in outputs.get("model_outputs", ())]
            yield SourceRun(
                id=run, name=info.get("run_name", ""), status=info.get("status", ""), user=info.get("user_id", ""),
                started_ms=_number(info.get("start_time")), ended_ms=_number(info.get("end_time")), deleted=info.get("lifecycle_stage") == "deleted",
                deleted_ms=None, artifact_uri=info.get("artifact_uri", ""), params=_pairs(data.get("params")), tags=_pairs(data.get("tags")),
                inputs=[_input(entry) for entry in inputs.get("dataset_inputs", ())], models=models, points=partial(self._points, run, keys),
            )  # fmt: skip

    def logged_models(self, experiment: SourceExperiment) -> Iterator[SourceLogged]:
        """Logged models of an experiment; servers before MLflow 3 have none, and deleted ones are not told."""
        try:
            yield from self._logged(experiment)
        except Missing:
            return

    def models(self) -> Iterator[SourceModel]:
        """Registered models."""
        for item in self._pages("GET", "/registered-models/search", "registered_models", max_results=_PAGE):
            name = item["name"]
            quoted = f"'{name}'" if "'" not in name else f'"{name}"'
            versions = self._pages("GET", "/model-versions/search", "model_versions", filter=f"name = {quoted}", max_results=10_000)
            yield SourceModel(
                name=name, description=item.get("description", ""), user=item.get("user_id", ""), created_ms=_number(item.get("creation_timestamp")),
                updated_ms=_number(item.get("last_updated_timestamp")), tags=_pairs(item.get("tags")),
                aliases={alias["alias"]: int(alias["version"]) for alias in item.get("aliases", ())},
                versions=sorted((self._version(version) for version in versions), key=lambda version: version.number),
            )  # fmt: skip

    def files(self, owner: str, artifact_uri: str) -> Iterator[SourceFile]:
        """Artifacts through the server, or of the folder that was named for them."""
        if self._destination is not None:
            yield from local_files(owner, artifact_uri, self._destination, self._destination)
            return
        proxied = urlsplit(artifact_uri)
        if proxied.scheme == "mlflow-artifacts":
            root = unquote(proxied.path).strip("/")
            yield from self._walk(
                lambda under: self._listed(_PROXY, "files", path=f"{root}/{under}".rstrip("/")),
                lambda path: self._download(f"{_PROXY}/{quote(f'{root}/{path}')}"),
                nested=False,
            )  # fmt: skip
        elif owner.startswith("m-"):
            place = f"{_AJAX}/logged-models/{owner}/artifacts"
            yield from self._walk(
                lambda under: self._listed(f"{place}/directories", "files", artifact_directory_path=under),
                lambda path: self._download(f"{place}/files", artifact_file_path=path),
            )
        else:
            yield from self._walk(
                lambda under: self._listed(f"{_API}/artifacts/list", "files", run_id=owner, path=under),
                lambda path: self._download("/get-artifact", run_id=owner, path=path),
            )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _walk(
        self,
        listed: Callable[[str], Iterator[dict[str, Any]]],
        fetch: Callable[[str], Path],
        under: str = "",
        depth: int = 0,
        *,
        nested: bool = True,
    ) -> Iterator[SourceFile]:
        """Files below a folder. ``nested`` says that paths in a list begin at the root, not at the folder."""
        for item in listed(under):
            path = item["path"] if nested or not under else f"{under}/{item['path']}"
            if item.get("is_dir"):
                if depth < _DEEPEST:
                    yield from self._walk(listed, fetch, path, depth + 1, nested=nested)
            else:
                yield SourceFile(path, lambda path=path: fetch(path), temporary=True)  # type: ignore[misc]

    def _listed(self, address: str, field: str, **query: Any) -> Iterator[dict[str, Any]]:
        given = {key: value for key, value in query.items() if value}
        while True:
            try:
                answer = self._json("GET", address, params=given)
            except Missing:
                return
            yield from answer.get(field, ())
            token = answer.get("next_page_token")
            if not token:
                return
            given["page_token"] = token

    def _download(self, address: str, **query: str) -> Path:
        for attempt in range(_ATTEMPTS):
            with tempfile.NamedTemporaryFile(prefix="rung-import-", delete=False) as file:
                target = Path(file.name)
                try:
                    with self._http.stream("GET", address, params=query) as answer:
                        if answer.is_success:
                            for part in answer.iter_bytes(_CHUNK):
                                file.write(part)
                            return target
                        reason = f"{answer.status_code}"
                        last = answer.status_code not in _AGAIN
                except httpx.TransportError as error:
                    reason, last = str(error), False
            target.unlink()
            if last:
                break
            time.sleep(2**attempt * 0.2)
        raise Damaged(f"{unquote(address)} cannot be read: {reason}")

    def _logged(self, experiment: SourceExperiment) -> Iterator[SourceLogged]:
        for item in self._pages("POST", "/logged-models/search", "models", experiment_ids=[experiment.id], max_results=50):
            info, data = item["info"], item.get("data", {})
            yield SourceLogged(
                id=info["model_id"], name=info.get("name", ""), status=info.get("status", ""), type=info.get("model_type", ""),
                run=info.get("source_run_id", ""), user=str(info.get("creator_id", "")), created_ms=_number(info.get("creation_timestamp_ms")),
                updated_ms=_number(info.get("last_updated_timestamp_ms")), deleted=False, artifact_uri=info.get("artifact_uri", ""),
                params=_pairs(data.get("params")), tags=_pairs(info.get("tags")), metrics=[_model_metric(metric) for metric in data.get("metrics", ())],
            )  # fmt: skip

    def _points(self, run: str, keys: Sequence[str]) -> Iterator[Sequence[Point]]:
        for key in keys:
            query: dict[str, Any] = {"run_id": run, "metric_key": key, "max_results": 25_000}
            while True:
                answer = self._json("GET", f"{_API}/metrics/get-history", params=query)
                yield [
                    (key, _double(item["value"]), _number(item.get("step")) or 0, _number(item.get("timestamp")) or 0)
                    for item in answer.get("metrics", ())
                ]
                if not answer.get("next_page_token"):
                    break
                query["page_token"] = answer["next_page_token"]

    def _version(self, item: Mapping[str, Any]) -> SourceVersion:
        source = item.get("source", "")
        return SourceVersion(
            number=int(item["version"]), source=source, place="" if source.startswith(("models:", "runs:")) else source, run=item.get("run_id", ""),
            logged_model=item.get("model_id") or (source.removeprefix("models:/") if source.startswith("models:/m-") else ""),
            run_link=item.get("run_link", ""), stage=item.get("current_stage") or "None", status=item.get("status", "READY"),
            user=item.get("user_id", ""), description=item.get("description", ""), created_ms=_number(item.get("creation_timestamp")),
            updated_ms=_number(item.get("last_updated_timestamp")), tags=_pairs(item.get("tags")),
        )  # fmt: skip

    def _pages(self, method: str, route: str, field: str, **query: Any) -> Iterator[dict[str, Any]]:
        token = ""
        while True:
            asked = {**query, **({"page_token": token} if token else {})}
            answer = self._json(method, _API + route, **({"params": asked} if method == "GET" else {"json": asked}))
            yield from answer.get(field, ())
            token = answer.get("next_page_token", "")
            if not token:
                return

    def _get(self, route: str, **query: Any) -> dict[str, Any]:
        return self._json("GET", _API + route, params=query)

    def _json(self, method: str, path: str, **parts: Any) -> dict[str, Any]:
        answer = self._send(method, path, **parts)
        try:
            found = msgspec.json.decode(answer.content)
        except msgspec.DecodeError:
            found = None
        if not isinstance(found, dict):
            raise Invalid(f"{self.name}{path} is no MLflow server: it answers no JSON.", code="import.no_mlflow", hint="Check the address.")
        return found

    def _send(self, method: str, path: str, **parts: Any) -> httpx.Response:
        reason = ""
        for attempt in range(_ATTEMPTS):
            try:
                answer = self._http.request(method, path, **parts)
            except httpx.TransportError as error:
                reason = str(error)
            else:
                if answer.is_success:
                    return answer
                if answer.status_code in {401, 403}:
                    raise Denied(
                        f"{self.name} refuses the credentials.", code="import.denied",
                        hint="Set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.",
                    )  # fmt: skip
                if answer.status_code == 404:  # noqa: PLR2004
                    raise Missing(f"{self.name}{path}: {answer.text[:200]}", code="import.missing", hint="Is this an MLflow server?")
                if answer.status_code not in _AGAIN:
                    raise Invalid(f"{self.name}{path} answered {answer.status_code}: {answer.text[:200]}", code="import.refused")
                reason = f"{answer.status_code} {answer.text[:100]}"
            time.sleep(2**attempt * 0.2)
        raise Unavailable(
            f"{self.name} does not answer: {reason}.", code="import.unreachable", hint="Check the address; then run it again."
        )


class Missing(Invalid):
    """The server has no such thing, or no such route."""


def _pairs(items: Any) -> dict[str, str]:
    return {item["key"]: item.get("value", "") for item in items or ()}


def _number(value: Any) -> int | None:
    return None if value is None else int(value)


def _double(value: Any) -> float:
    return float(value)


def _input(entry: Mapping[str, Any]) -> SourceInput:
    dataset = entry["dataset"]
    return SourceInput(
        name=dataset["name"], digest=dataset["digest"], source_type=dataset.get("source_type", ""), source=dataset.get("source", ""),
        schema=dataset.get("schema", ""), profile=dataset.get("profile", ""), tags=_pairs(entry.get("tags")),
    )  # fmt: skip


def _model_metric(metric: Mapping[str, Any]) -> SourceMetric:
    return SourceMetric(
        key=metric["key"], value=_double(metric["value"]), step=_number(metric.get("step")) or 0, at_ms=_number(metric.get("timestamp")) or 0,
        run=metric.get("run_id", ""), dataset_name=metric.get("dataset_name", ""), dataset_digest=metric.get("dataset_digest", ""),
    )  # fmt: skip
