"""An image that answers with the bundle: small, pinned, not root; every target runs this one."""

from __future__ import annotations

import rung
from rung.protocols.exchange.deploying import BUNDLE, PORT, Exported, target

_PYTHON = "python:3.11.9-slim-bookworm"
_USER = 10001

_DOCKERFILE = """\
# The image of a deployment of Rung: {deployment}, revision {revision} ({versions}).
FROM {python} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
COPY requirements.txt wheels* /tmp/build/
RUN /opt/venv/bin/pip install --find-links /tmp/build -r /tmp/build/requirements.txt

FROM {python}
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 RUNG_HOME=/var/lib/rung
RUN useradd --uid {user} --no-create-home --shell /usr/sbin/nologin rung \\
 && install -d -o {user} -g {user} -m 0700 /var/lib/rung
COPY --from=build /opt/venv /opt/venv
COPY {bundle} /opt/rung/bundle
COPY --chmod=0555 entrypoint.sh /opt/rung/entrypoint.sh
USER {user}
EXPOSE {port}
LABEL com.amazonaws.sagemaker.capabilities.accept-bind-to-port=true
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \\
 CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:%s/readyz' % os.environ.get('RUNG_PORT', '{port}'), timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/rung/entrypoint.sh"]
"""

_ENTRYPOINT = """\
#!/bin/sh
# Any arguments are left alone: SageMaker starts images with "serve".
set -eu
export RUNG_PORT="${{AIP_HTTP_PORT:-${{SAGEMAKER_BIND_TO_PORT:-${{RUNG_PORT:-{port}}}}}}}"
export RUNG_SERVER_HOST="${{RUNG_SERVER_HOST:-0.0.0.0}}"
# Asked by whatever name a network gives it: what guards it is the token, or what stands before it.
export RUNG_SERVER_HOSTS="${{RUNG_SERVER_HOSTS:-*}}"
exec rung serve --bundle "${{RUNG_BUNDLE:-/opt/rung/bundle}}" --port "$RUNG_PORT" --workers "${{RUNG_WORKERS:-{workers}}}" --behind-proxy
"""


@target("docker")
class Docker:
    """Dockerfile, entry point and the list of what is installed."""

    @staticmethod
    def files(exported: Exported) -> dict[str, str]:
        """None beside the image's own."""
        return {}


def image_files(exported: Exported, libraries: dict[str, str]) -> dict[str, str]:
    """Dockerfile, entry point, requirements and what is left out of the build, by path."""
    pinned = [f"rung=={rung.__version__}", *(f"{name}=={number}" for name, number in sorted(libraries.items()))]
    dockerfile = _DOCKERFILE.format(
        deployment=exported.deployment, revision=exported.revision, versions=", ".join(exported.versions), python=_PYTHON, user=_USER,
        bundle=BUNDLE, port=PORT,
    )  # fmt: skip
    return {
        "Dockerfile": dockerfile,
        "entrypoint.sh": _ENTRYPOINT.format(port=PORT, workers=exported.workers),
        "requirements.txt": "\n".join(pinned) + "\n",
        ".dockerignore": "*\n!bundle\n!requirements.txt\n!entrypoint.sh\n!wheels\n",
    }
