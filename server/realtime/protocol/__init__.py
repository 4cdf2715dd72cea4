"""OpenAI Realtime on the wire: events, settings and items, as values. No sockets, no tasks, no clock.

event = parse_client_event(message)                  # or ProtocolError: send server_events.error(problem)
config = config.merged(event.session)                # SessionConfig
response = response_config(config, event.response)   # ResponseConfig
given = from_wire(event.item)                        # ClientItem: an Item of the conversation, its Shape
server_events.item_added(to_wire(given.item, given.shape))
"""

from antiphon.server.realtime.protocol import server_events
from antiphon.server.realtime.protocol.client_events import (
    CLIENT_EVENT_TYPES,
    ClientEvent,
    InputAudioAppend,
    InputAudioClear,
    InputAudioCommit,
    ItemCreate,
    ItemDelete,
    ItemRetrieve,
    ItemTruncate,
    OutputAudioClear,
    ResponseCancel,
    ResponseCreate,
    SessionUpdate,
    parse_client_event,
)
from antiphon.server.realtime.protocol.errors import ProtocolError
from antiphon.server.realtime.protocol.items import (
    ApprovalResponseItem,
    ClientItem,
    ItemReference,
    ItemStatus,
    NewItem,
    Shape,
    from_wire,
    to_wire,
)
from antiphon.server.realtime.protocol.mcp import CallError, HostedTool, McpChoice, McpServer
from antiphon.server.realtime.protocol.response import (
    Failure,
    Reason,
    ResponseConfig,
    ResponseFields,
    Status,
    Usage,
    response_config,
    response_to_wire,
)
from antiphon.server.realtime.protocol.server_events import ContentPart, ServerEvent
from antiphon.server.realtime.protocol.session import (
    AudioFormat,
    NamedTool,
    SemanticVad,
    ServerVad,
    SessionConfig,
    Transcription,
    TurnDetection,
)
from antiphon.server.realtime.protocol.session_fields import SessionFields, parse_session

__all__ = [
    "CLIENT_EVENT_TYPES",
    "ApprovalResponseItem",
    "AudioFormat",
    "CallError",
    "ClientEvent",
    "ClientItem",
    "ContentPart",
    "Failure",
    "HostedTool",
    "InputAudioAppend",
    "InputAudioClear",
    "InputAudioCommit",
    "ItemCreate",
    "ItemDelete",
    "ItemReference",
    "ItemRetrieve",
    "ItemStatus",
    "ItemTruncate",
    "McpChoice",
    "McpServer",
    "NamedTool",
    "NewItem",
    "OutputAudioClear",
    "ProtocolError",
    "Reason",
    "ResponseCancel",
    "ResponseConfig",
    "ResponseCreate",
    "ResponseFields",
    "SemanticVad",
    "ServerEvent",
    "ServerVad",
    "SessionConfig",
    "SessionFields",
    "SessionUpdate",
    "Shape",
    "Status",
    "Transcription",
    "TurnDetection",
    "Usage",
    "from_wire",
    "parse_client_event",
    "parse_session",
    "response_config",
    "response_to_wire",
    "server_events",
    "to_wire",
]
