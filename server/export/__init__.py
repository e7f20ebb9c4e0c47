"""Whole scenes as files: `clearsky export`."""
