"""The HTTP interface: parameters, reader, encoding, headers."""
