"""The filter language of ``where``: parsing, exact evaluation, and approximations for engines that support only a part of it."""
