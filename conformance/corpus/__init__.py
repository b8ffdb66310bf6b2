"""Examples of every kind that are made here: good ones, and broken ones that name what must be found."""
