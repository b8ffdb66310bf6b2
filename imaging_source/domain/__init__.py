"""Rules of the imaging source: plain functions over frozen values."""
