"""Instances, and how they are found, given and shown over the web: the same for whoever keeps them."""
