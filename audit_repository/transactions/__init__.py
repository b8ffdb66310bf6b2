"""What the audit repository serves: ITI-20, and a search in the manner of ITI-81."""
