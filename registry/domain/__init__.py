"""The rules of the registry, in plain Python (ITI TF-3 4.1 and 4.2; ITI TF-2 3.18 and 3.42)."""
