"""What a node follows: a platform by its address, with the node's token, and all or some of its deployments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rung.core.errors import Invalid
from rung.core.records import replaced
from rung.core.settings import Settings, StorageSettings

FOLDER = "node"


@dataclass(frozen=True)
class Following:
    """A platform and what of it is followed; ``address`` is the node's own."""

    url: str
    token: str
    project: str | None = None
    deployments: tuple[str, ...] = ()
    environment: str | None = None
    address: str = ""


def node_settings(settings: Settings) -> Settings:
    """The settings of a node's own home, which is a folder of the home, so that a platform in the same home is another's."""
    return replaced(settings, home=str(settings.home_path / FOLDER), url="", token="", storage=StorageSettings())


def following(settings: Settings, platform: str, deployments: Sequence[str], environment: str | None) -> Following | None:
    """What ``rung serve`` shall follow: the address named, or that of RUNG_URL where no database is set; None: its own platform.

    Raises:
        Invalid: there is no token, or the address is none.
    """
    url = platform or ("" if settings.storage.database else settings.url)
    if not url:
        if deployments or environment:
            raise Invalid(
                "--deployment and --environment choose what a node follows, and no platform is named.", code="serving.node_nothing",
                hint="Say --platform URL, or set RUNG_URL.",
            )  # fmt: skip
        return None
    if not url.startswith(("http://", "https://")):
        raise Invalid(f"{url!r} is no address of a platform.", code="serving.node_address", hint="It begins with http:// or https://.")
    if not settings.token:
        raise Invalid(
            f"A node that follows {url} needs a token of its own.", code="serving.node_no_token",
            hint="Set RUNG_TOKEN: rung principal create NODE --service --role node, then rung token create NODE.",
        )  # fmt: skip
    project = settings.named_project
    return Following(url=url.rstrip("/"), token=settings.token, project=project, deployments=tuple(deployments), environment=environment)
