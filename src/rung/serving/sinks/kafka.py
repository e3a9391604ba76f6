"""A topic of Kafka, or of whatever speaks its protocol (Redpanda, Event Hubs …): CloudEvents by the Kafka protocol binding.

Needs the extra ``kafka``. The producer is idempotent and waits for all replicas, so what is told was stored.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from rung.core.errors import Invalid, Unavailable
from rung.serving.sinks.cloudevents import STRUCTURED, encoded, structured
from rung.serving.sinks.family import SINKS, Event, Spec, setting, shown

_FLAWED = "serving.bad_sink"
_QUIET = logging.getLogger("rung.serving.kafka")


@SINKS.member("kafka")
class Topic:
    """Produces to one topic, ``kafka://host:port[,host:port…]/topic``; the message's key is the prediction's id.

    Settings: ``mode`` is structured (default) or binary; ``options`` are librdkafka's, as text; ``secret`` names the SASL password.
    """

    def __init__(self, spec: Spec) -> None:
        try:
            from confluent_kafka import KafkaException, Producer  # noqa: PLC0415 - an optional extra
        except ImportError:
            raise Invalid("Sinks on Kafka need the extra kafka.", code=_FLAWED, hint="pip install 'rung[kafka]'") from None
        self._spec, self._mode = spec, setting(spec, "mode", "structured", ("structured", "binary"))
        parts = urlsplit(spec.address)
        self._topic = parts.path.strip("/")
        options = spec.settings.get("options", {})
        if not parts.netloc or not self._topic or not isinstance(options, dict):
            raise Invalid(
                f"{shown(spec.address)!r} names no topic.", code=_FLAWED, hint="Write kafka://host:port/topic, options as a table."
            )
        wanted: dict[str, Any] = {
            "enable.idempotence": True, "linger.ms": 5, "compression.type": "lz4", "message.timeout.ms": int(spec.timeout_s * 1000),
            **options, "bootstrap.servers": parts.netloc.rpartition("@")[2],
        }  # fmt: skip
        if spec.secret:
            wanted["sasl.password"] = spec.secret
        try:
            self._producer = Producer(wanted, logger=_QUIET)
        except KafkaException as error:
            raise Invalid(
                f"The options of sink {shown(spec.address)} are refused: {error}.", code=_FLAWED, hint="See librdkafka's."
            ) from None

    def send(self, events: Sequence[Event]) -> None:
        """Produce events and wait until the brokers have stored them. Raises Unavailable."""
        failed: list[str] = []

        def noted(error: Any, _: Any) -> None:
            if error is not None:
                failed.append(str(error))

        headers: list[tuple[str, str | bytes | None]]
        for event in events:
            key = event.attributes["id"].encode()
            if self._mode == "structured":
                value, headers = encoded(structured(event)), [("content-type", STRUCTURED.encode())]
            else:
                told = {f"ce_{name}": said for name, said in event.attributes.items() if name != "datacontenttype"}
                value, headers = encoded(event.data), [("content-type", b"application/json"), *((k, v.encode()) for k, v in told.items())]
            try:
                self._producer.produce(self._topic, value=value, key=key, headers=headers, on_delivery=noted)
            except BufferError:
                self._producer.flush(self._spec.timeout_s)
                self._producer.produce(self._topic, value=value, key=key, headers=headers, on_delivery=noted)
            self._producer.poll(0)
        left = self._producer.flush(self._spec.timeout_s + 1)
        if left or failed:
            self._producer.purge()
            why = failed[0] if failed else f"{left} of {len(events)} were not stored in time"
            raise Unavailable(
                f"Sink {shown(self._spec.address)} did not take the predictions: {why}.",
                code="serving.sink_unavailable",
                hint="Mend the brokers; nothing is lost.",
            )

    def close(self) -> None:
        """Nothing waits: every ``send`` was flushed."""
        self._producer.flush(0)
