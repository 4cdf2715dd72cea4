"""The web console: a page to talk to the server, to look at what was said, and to decide what waits for a person."""
