"""Trials: runs of plans that people begin on a page, step by step, each in a process of its own."""
