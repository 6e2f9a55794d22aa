"""The server: OpenAI's embeddings API on this machine. All that is asynchronous in Umekomi lives here.

``schemas`` says what a request may hold and how an answer is written, ``batcher`` joins the texts of many requests into
batches, ``models`` loads models when they are first asked for, and ``app`` holds the routes and the map from errors to
statuses.
"""
