"""The server for OpenAI's embeddings API. Apart from ``Embedder.aembed``, all asynchronous code of Umekomi is here.

``app`` creates the ASGI application. ``schemas`` describes requests and responses, ``scheduler`` batches the texts of many
requests, ``models`` loads models on first use, and ``errors`` maps errors to HTTP responses.
"""
