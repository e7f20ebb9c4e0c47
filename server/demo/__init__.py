"""The demo scene: a synthetic cloudy picture, a clear one of another date, and the truth, made without downloads."""

from server.demo.write import DemoScene, write_demo

__all__ = ["DemoScene", "write_demo"]
