"""KServe's first protocol, which is TF-Serving's: ``:predict`` and ``:explain`` of /v1/models/<name>."""

from __future__ import annotations

from rung.serving.codecs.vertex import Instances
from rung.serving.inference import CODECS

CODECS.add("kserve", Instances(kserve=True))
