"""An MTProto server on the loopback interface that unmodified clients log in to."""
