"""What requests share, as dependencies: the parts of the application's services that routes and reader need."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request

from server.analysis.choosing import Chooser
from server.analysis.engine import Analysis
from server.raster.sources import Sources
from server.settings import Settings


def sources_of(app: Any) -> Sources:
    """An application's rasters."""
    sources: Sources = app.state.services.sources
    return sources


def chooser_of(app: Any) -> Chooser:
    """What chooses an application's replacements."""
    chooser: Chooser = app.state.services.chooser
    return chooser


async def shared_chooser(request: Request) -> Chooser:
    """What chooses the application's replacements."""
    return chooser_of(request.app)


async def shared_sources(request: Request) -> Sources:
    """The application's rasters."""
    return sources_of(request.app)


async def shared_settings(request: Request) -> Settings:
    """The application's settings."""
    settings: Settings = request.app.state.services.settings
    return settings


async def shared_analysis(request: Request) -> Analysis:
    """The application's analysis."""
    analysis: Analysis = request.app.state.services.analysis
    return analysis


SharedSources = Annotated[Sources, Depends(shared_sources)]
SharedSettings = Annotated[Settings, Depends(shared_settings)]
SharedAnalysis = Annotated[Analysis, Depends(shared_analysis)]
SharedChooser = Annotated[Chooser, Depends(shared_chooser)]
