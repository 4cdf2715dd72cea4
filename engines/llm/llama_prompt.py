"""From messages to tokens, with the model's own template."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from antiphon.engines.errors import EngineLoadFailed
from antiphon.engines.llm.chat_template import CHATML, GUARD, ChatTemplate, guard_message
from antiphon.engines.llm.llama_native import NativeModel
from antiphon.engines.llm.thinking import MARKERS, open_block
from antiphon.engines.llm.tool_calls import TAGS
from antiphon.engines.protocols import Message, ToolSpec

_log = logging.getLogger(__name__)


class PromptBuilder:
    """The template and the tokeniser of one model. The same messages always give the same tokens.

    :param template: Jinja text, "chatml", or "" for the GGUF's own.
    :param thinking: whether templates that know the switch let the model think first.
    :raises EngineLoadFailed: the template is no valid Jinja.
    """

    def __init__(self, model: NativeModel, template: str, thinking: bool) -> None:
        self._model = model
        source = CHATML if template == "chatml" else template or model.metadata("tokenizer.chat_template")
        if not source:
            _log.warning("the model has no chat template; ChatML is used", extra={"path": model.path})
            source = CHATML
        bos, eos = model.special_texts()
        # No clock among the variables (`strftime_now`): the prompt must be the same from turn to turn.
        variables = {"bos_token": bos, "eos_token": eos, "enable_thinking": thinking}
        try:
            self._template = ChatTemplate(source, variables)
        except ValueError as error:
            where = "llm.chat_template" if template else f"the chat template in '{model.path}'"
            raise EngineLoadFailed(
                f"{where} cannot be used: {error}",
                stage="llm",
                engine="llama_cpp",
                hint="set llm.chat_template to a Jinja text, or to chatml",
            ) from error
        self._controls = model.control_texts()
        self._begin = model.begin_token()
        self._begin_text = bos
        self.tagged_calls = not self._template.tools or "<tool_call>" in source
        """Whether the model writes its calls between `<tool_call>` tags (else as bare JSON)."""
        self._shown_controls = tuple(text for text in self._controls if _in_marker(text))

    def answer(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], opening: str = "", *, close_thinking: bool
    ) -> tuple[list[int], str]:
        """Tokens of the whole prompt, and the closing tag of the thinking block that it leaves open ("": none).

        :param opening: what the answer is made to begin with.
        :param close_thinking: end an open block at once: the answer is forced into a form.
        :raises EngineRequestInvalid: the template refuses these messages.
        """
        text = self._template.render(self._guarded(messages), tools)
        thinking = open_block(text)
        if thinking and close_thinking:
            text, thinking = f"{text.rstrip()}\n{thinking}\n\n", ""
        return self._tokens(text + opening), thinking

    def sure_prefix(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> list[int]:
        """Tokens that the prompt of this chat begins with however it goes on."""
        # The last token may merge with what follows.
        return self._tokens(self._template.sure_prefix(self._guarded(messages), tools))[:-1]

    def visible(self, token: int) -> bytes:
        """The bytes of a token in an answer: control tokens are silent, but for those that tags are made of."""
        piece = self._model.piece(token)
        if self._model.is_control(token) and piece.decode("utf-8", "replace") not in self._shown_controls:
            return b""
        return piece

    def _guarded(self, messages: Sequence[Message]) -> list[Message]:
        return [guard_message(message, self._controls) for message in messages]

    def _tokens(self, text: str) -> list[int]:
        tokens = [self._begin] if self._begin is not None and not text.startswith(self._begin_text) else []
        for part in text.split(GUARD):
            tokens += self._model.tokenize(part)
        return tokens


def _in_marker(text: str) -> bool:
    return any(text in marker for marker in (*MARKERS, *TAGS, *TAGS.values()))
