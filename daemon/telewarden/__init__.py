"""The daemon that takes in Telegram channel messages and never loses one."""
