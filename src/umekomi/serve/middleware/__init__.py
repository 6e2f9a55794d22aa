"""ASGI middleware: request context, authentication, decoding of compressed bodies."""
