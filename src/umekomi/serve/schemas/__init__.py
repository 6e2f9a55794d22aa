"""Bodies of requests and responses: fields and their limits, JSON, and the description at ``/openapi.json``."""
