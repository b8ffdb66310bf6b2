"""May they: decisions from the policies of a patient."""
