"""Commands of the server and of vector stores."""
