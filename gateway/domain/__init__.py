"""The rules of a gateway, as plain functions."""
