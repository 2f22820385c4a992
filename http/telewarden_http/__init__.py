"""The polling API: knows storage only through the protocols that it declares itself."""
