"""A Raft key-value node: a pure core, its storage, its shell and the client of its HTTP API."""
