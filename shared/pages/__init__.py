"""Pages for people at browsers, as every service with pages has them: made by the server, without scripts."""
