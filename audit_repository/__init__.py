"""The Audit Record Repository: receives, keeps and answers for the trail."""
