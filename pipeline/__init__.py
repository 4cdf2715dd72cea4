"""What makes a conversation of engines: gate, turns, conversation, workflow, session, transports."""

if __name__ != "antiphon.pipeline":
    raise ImportError(
        "this folder is the package 'antiphon.pipeline': import it by that name "
        "(pip install -e . in the project, then 'import antiphon.pipeline')"
    )
