"""Commands that embed texts, search them and prepare both."""
