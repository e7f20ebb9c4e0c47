"""The errors of ClearSky: one small tree; `server.errors` maps it to HTTP statuses in one table."""


class ClearSkyError(ValueError):
    """Base of every error that bad input can cause; the message names the value and the remedy."""


class ShapeError(ClearSkyError):
    """Arrays whose shapes do not fit each other or the task."""


class ParameterError(ClearSkyError):
    """An option outside its range, or an unknown name."""


class RemapError(ClearSkyError):
    """A remap string that cannot be read; the message gives the position of the error."""


class BandError(ClearSkyError):
    """Bands that the chosen model or operation needs are missing or not named."""


class ModelError(ClearSkyError):
    """An unknown cloud model, or a model file that is missing or damaged."""
