"""Storage: journal, database, cache and the reader that falls back between them."""
