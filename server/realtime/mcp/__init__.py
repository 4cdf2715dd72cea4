"""Tools of MCP servers that a client names for its session.

allowing     what a client may have the server connect to
http         requests that stay where they may go, and answers of a bounded length
connection   one connection, from its handshake to its end
link         one MCP server: its tools, and calls of them
toolbox      the servers of a session, and what they offer
calls        calls as a client sees them: asked for, allowed, done
"""
