"""The OpenAI-compatible API. Async lives here, and only here."""
