"""The embedded servers and the local Telegram, for the demo, tests and benchmarks."""
