"""Imaging Document Source, one module for each transaction."""
