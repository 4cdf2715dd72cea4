"""`antiphon serve`: a configuration as a service for other programs."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from antiphon.engines.errors import EngineUnavailable
from antiphon.pipeline.cli.common import ConfigArgument, SetOption, explained
from antiphon.pipeline.config import load_config


@explained
def serve(
    config: ConfigArgument = None,
    host: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Listen there; default: server.host, 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(metavar="N", help="Listen at that port; default: server.port, 8080.", min=0, max=65535)
    ] = None,
    overrides: SetOption = None,
) -> None:
    """Answer other programs and browsers: a console, OpenAI Realtime (WebSocket, WebRTC), OpenAI's audio and chat
    calls, a plain stream, telephone networks, Wyoming.

    Ends in order with Ctrl-C or SIGTERM: what is being said is said to its end. SIGHUP reads the configuration again:
    new conversations get it, running ones keep what they have.

    Exit codes: 0 ended in order; 2 wrong usage, a wrong configuration, or an address that cannot be listened at; 3 a
    package or a model is missing; 1 anything else.
    """
    with _no_hang_up():
        _serve(config, host, port, overrides)


@contextmanager
def _no_hang_up() -> Iterator[None]:
    """SIGHUP ends a process that does not listen for it, and the server does so only while it runs: who asks for
    another configuration while it starts or ends is not to end it by that."""
    before = None
    if hasattr(signal, "SIGHUP") and threading.current_thread() is threading.main_thread():
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGHUP, before)


def _serve(config: str | None, host: str | None, port: int | None, overrides: list[str] | None) -> None:
    more = [f"server.{key}={value}" for key, value in (("host", host), ("port", port)) if value is not None]
    name = config or "local.yaml"
    read = partial(load_config, name, overrides=[*(overrides or ()), *more])
    loaded = read()
    for package in ("fastapi", "prometheus_client", "python_multipart", "uvicorn", "websockets"):
        if importlib.util.find_spec(package) is None:
            raise EngineUnavailable(
                f"antiphon serve needs the package {package}", hint='pip install "antiphon[server]"'
            )
    from antiphon.server.memory import keep_few_arenas

    keep_few_arenas()
    from antiphon.server.fronts import Fronts
    from antiphon.server.observing.logs import configure
    from antiphon.server.service import Service
    from antiphon.server.serving import listen
    from antiphon.server.serving import serve as serve_until_told

    verbose = logging.getLogger().isEnabledFor(logging.INFO)
    configure(loaded.server.log_format, "info" if verbose else loaded.server.log_level)
    console = Console(highlight=False)
    with listen(loaded.server) as listener, closing(Fronts(loaded)) as fronts:
        service = Service(loaded, source=read)
        scheme = "http" if service.access.tls is None else "https"
        address = "{}://{}:{}".format(scheme, *listener.getsockname()[:2])
        shown = Path(name).name
        console.print(Text(f"{address} loading {shown}", "dim"), soft_wrap=True)

        def ready(_: Service) -> None:
            console.print(Text(f"ready: {address} ({shown}); Ctrl-C ends it"), soft_wrap=True)
            console.print(Text(service.access.protection(), "dim"), soft_wrap=True)
            for protocol, (where, number) in fronts.addresses.items():
                console.print(Text(f"{protocol}: tcp://{where}:{number}, no keys", "dim"), soft_wrap=True)

        asyncio.run(serve_until_told(loaded, listener, service=service, fronts=fronts, on_ready=ready))
