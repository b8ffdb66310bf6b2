"""Readers of the encodings that are judged: small, tolerant, and none of them a codec of the product."""
