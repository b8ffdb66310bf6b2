"""Instances as received: their files, their index, their metadata."""
