"""The trail: append only, chained, signed at intervals."""
