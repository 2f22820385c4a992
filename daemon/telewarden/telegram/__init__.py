"""Telegram: client factory, session file, history reading, normalising."""
