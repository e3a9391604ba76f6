"""Foreign wire formats, translated and never deciding. Inference formats live with the data plane as codecs."""
