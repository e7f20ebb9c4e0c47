"""The viewer (placeholder until its page lands)."""

from fastapi import FastAPI


def add_viewer(app: FastAPI) -> None:
    """Add `/viewer`."""
