from lib.fixtures import gateway, shared, start, upstream  # noqa: F401
