"""What is asked of a system, one function for each requirement (ITI TF-2, RAD TF-2, TF-3)."""
