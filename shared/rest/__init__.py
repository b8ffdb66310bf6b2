"""The wing of REST: what is served, and the one way of its requests."""
