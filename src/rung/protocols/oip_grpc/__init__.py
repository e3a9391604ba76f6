"""The Open Inference Protocol over gRPC, with health and reflection; an extra: ``pip install 'rung[grpc]'``.

Messages are made at run time from ``open_inference.proto``; the answers are those of REST, from the same data plane.
"""
