"""Whom the imaging source asks, as its transactions know them."""
