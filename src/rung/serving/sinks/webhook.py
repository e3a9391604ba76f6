"""A webhook: CloudEvents over HTTP, as a batch, one structured event a request, or one binary-mode event a request.

The same rules as for all webhooks hold: public https addresses, unless the operator allows others; no redirects.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from rung.core.errors import Unavailable
from rung.registry.posting import checked_address, post
from rung.serving.sinks.cloudevents import BATCH, STRUCTURED, encoded, structured
from rung.serving.sinks.family import SINKS, Event, Spec, TooLarge, setting, shown

_TOO_LARGE = 413


@SINKS.member("http")
@SINKS.member("https")
class Webhook:
    """Posts to one address. Settings: ``mode`` is batch (default), structured or binary; ``secret`` names a bearer token."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._mode = setting(spec, "mode", "batch", ("batch", "structured", "binary"))
        self._headers = {"Authorization": f"Bearer {spec.secret}"} if spec.secret else {}
        checked_address(spec.address, allow_private=spec.allow_private)

    def send(self, events: Sequence[Event]) -> None:
        """Post events. Raises Unavailable, TooLarge."""
        if self._mode == "batch":
            self._post(encoded([structured(event) for event in events]), {"Content-Type": BATCH}, many=len(events) > 1)
            return
        for event in events:
            if self._mode == "structured":
                self._post(encoded(structured(event)), {"Content-Type": STRUCTURED}, many=False)
            else:
                said = {f"ce-{name}": quote(value, safe=" !#$&'()*+,/:;=?@[]~") for name, value in event.attributes.items()}
                kind = said.pop("ce-datacontenttype")
                self._post(encoded(event.data), {**said, "Content-Type": kind.replace("%20", " ")}, many=False)

    def close(self) -> None:
        """Nothing is held between posts."""

    def _post(self, body: bytes, headers: dict[str, str], *, many: bool) -> None:
        spec = self._spec
        reply = post(spec.address, body.decode(), {**self._headers, **headers}, allow_private=spec.allow_private, timeout_s=spec.timeout_s)
        if reply.taken:
            return
        if reply.status == _TOO_LARGE and many:
            raise TooLarge
        why = reply.error or f"it answered {reply.status}: {reply.body[:200]}"
        raise Unavailable(
            f"Sink {shown(spec.address)} did not take the predictions: {why}.",
            code="serving.sink_unavailable",
            hint="Mend the receiver; nothing is lost.",
        )
