"""The black-box tests' own tools: a scripted model server, the daemon as a process, a raw client."""
