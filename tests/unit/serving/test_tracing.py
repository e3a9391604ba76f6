"""W3C trace context; the values are those of the recommendation's own examples."""

from __future__ import annotations

import pytest

from rung.core.errors import Invalid
from rung.serving.isolated.locked import requirements
from rung.serving.tracing import echoed, parsed, trace_id

TRACE, SPAN = b"4bf92f3577b34da6a3ce929d0e0e4736", b"00f067aa0ba902b7"


def test_a_traceparent_has_a_trace_a_span_and_flags() -> None:
    assert parsed(b"00-%b-%b-01" % (TRACE, SPAN)) == (TRACE, SPAN, b"01")
    assert parsed(b"cc-%b-%b-01-what-the-future-adds" % (TRACE, SPAN)) == (TRACE, SPAN, b"01")


@pytest.mark.parametrize(
    "value",
    [
        b"", b"00", b"00-%b-%b-1" % (TRACE, SPAN), b"ff-%b-%b-01" % (TRACE, SPAN), b"00-%b-%b-01" % (b"0" * 32, SPAN),
        b"00-%b-%b-01" % (TRACE, b"0" * 16), b"00-%b-%b-01-more" % (TRACE, SPAN), b"00-%b-%b-01" % (TRACE.upper(), SPAN),
    ],
)  # fmt: skip
def test_what_the_recommendation_says_to_ignore_is_ignored(value: bytes) -> None:
    assert parsed(value) is None
    assert echoed({b"traceparent": value}) == []


def test_an_answer_has_the_trace_and_another_span() -> None:
    headers = {b"traceparent": b"00-%b-%b-01" % (TRACE, SPAN), b"x-request-id": b"a-1"}
    (name, value), own = echoed(headers)
    assert (name, value[:36], value[52:]) == (b"traceparent", b"00-%b-" % TRACE, b"-01")
    assert value[36:52] != SPAN
    assert own == (b"x-request-id", b"a-1")
    assert trace_id(headers) == TRACE.decode()


def test_a_request_id_that_would_split_a_header_does_not_go_back() -> None:
    assert echoed({b"x-request-id": b"a\r\nset-cookie: b"}) == []
    assert echoed({b"x-request-id": b"a" * 201}) == []


def test_a_lock_becomes_requirements_without_rung_and_the_project_itself() -> None:
    lock = 'version = 1\n[[package]]\nname = "numpy"\nversion = "2.1.0"\nsource = { registry = "https://index.example/simple" }\n'
    lock += '[[package]]\nname = "mine"\nversion = "0.1"\nsource = { virtual = "." }\n'
    assert requirements(lock) == "numpy==2.1.0\n"
    assert requirements("rung==0.1.0\nnumpy==2.1.0\n-e .\n") == "numpy==2.1.0\n"
    with pytest.raises(Invalid):
        requirements("[[package]]\nname = ")
