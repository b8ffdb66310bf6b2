"""The pages for clinicians: made by the server, without scripts."""
