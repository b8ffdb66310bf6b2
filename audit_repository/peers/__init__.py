"""Whom the audit repository asks."""
