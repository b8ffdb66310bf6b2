"""Whom the repository asks, as its transactions know them."""
