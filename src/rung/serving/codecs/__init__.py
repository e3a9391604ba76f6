"""Codecs: one payload format a file, from bytes to rows and from an answer to bytes. They decide nothing."""
