"""What the standards demand, one module for each kind of thing; each rule is a generator of findings."""
