"""What all requests of one application share."""

from __future__ import annotations

from dataclasses import dataclass

from server.analysis.choosing import Chooser
from server.analysis.engine import Analysis
from server.analysis.state import make_analysis, make_chooser
from server.raster.sources import Sources
from server.recipes.store import RecipeFolder
from server.settings import Settings


@dataclass(frozen=True, slots=True)
class Services:
    """Settings, caches and threads of one application, kept on its `state.services`."""

    settings: Settings
    """What the operator has set."""
    sources: Sources
    """The rasters that may be read, opened and described."""
    analysis: Analysis
    """Masks and fills, each computed once."""
    recipes: RecipeFolder
    """Layers under a name."""
    chooser: Chooser
    """The dates that scenes are filled from where a request leaves them open."""

    @classmethod
    def of(cls, settings: Settings) -> Services:
        """Services according to the settings; the analysis starts its threads here.

        Raises:
            ParameterError: an entry of the allow-list that cannot be understood.
        """
        sources = Sources.of(settings)
        analysis = make_analysis(settings, sources)
        chooser = make_chooser(settings, sources, analysis)
        return cls(settings, sources, analysis, RecipeFolder(settings.recipes), chooser)

    def close(self) -> None:
        """Stop the threads."""
        self.analysis.close()
