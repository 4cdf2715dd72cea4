"""Workflow `agent`: an agent of `openai-agents` as the middle of the chain, on the session's own LLM.

contracts    what others may give the agent (somebody who approves, somebody who announces), and what it yields besides
rules        how a tool runs: time limit, what an interruption does to it, in the background or not
desk         runs tool calls by these rules, and keeps the results that come late
items        a conversation as the SDK's input items, and those as a prompt
model        the LLM contract as a model of the SDK
barrier      nothing that a model asks for is done before the turn is sure
graph        the user's agents with all of that around them
running      runs of the SDK, begun, read and ended
workflow     :class:`AgentWorkflow`
declared, openapi, mcp_servers, toolbox    agents and tools that are named in YAML
runtime      what a configuration's agents share: loaded once, entered and left with the engines

Importing this package needs no other; its modules need `openai-agents`: pip install "antiphon[agents]".
"""
