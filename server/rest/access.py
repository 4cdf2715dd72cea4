"""How the calls come to the service behind them."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from antiphon.server.service import Service


def _any(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _ready(request: Request) -> Service:
    service = _any(request)
    service.must_be_ready()
    return service


AnyService = Annotated[Service, Depends(_any)]
"""The service, whatever its state."""
Ready = Annotated[Service, Depends(_ready)]
"""The service with its engines; while they are loaded, and at the end, the call is refused (503)."""
