"""What an operator sets of the server besides its limits: traces."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from antiphon.engines.config import option


class TracingKeys(BaseModel):
    """Where traces of conversations go (OpenTelemetry). None are made without an endpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: str | None = option(
        None,
        "The collector's address (OTLP over HTTP, the path included). null: no traces. With `session.offline` it must "
        "be on this machine.",
        pattern=r"^https?://[^\s/]+",
        examples=["http://127.0.0.1:4318/v1/traces"],
    )
    sample: float = option(1.0, "The share of conversations that are traced.", ge=0, le=1)
    service_name: str = option("antiphon", "What the server is called in them.", min_length=1, max_length=100)
