"""Rules as plain functions over frozen values."""
