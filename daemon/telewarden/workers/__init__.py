"""Workers: one module each, a plain async callable that a supervisor owns."""
