"""Archives in place: the source fronts them instead of holding their images."""
