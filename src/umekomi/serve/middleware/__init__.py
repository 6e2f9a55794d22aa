"""ASGI middleware: request context, authentication, decoding of compressed bodies, and a shortcut past the router."""
