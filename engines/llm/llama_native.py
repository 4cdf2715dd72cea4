"""A thin, typed layer over llama.cpp's C interface: the model, its vocabulary, one context with many sequences.

Everything here runs on the worker that loaded the model. `llama_cpp` is imported when a model is loaded.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from antiphon.engines.errors import EngineLoadFailed
from antiphon.engines.llm.llama_watchdog import ABORTED, Watchdog

_log = logging.getLogger(__name__)
_native_log = logging.getLogger(f"{__name__}.native")
_ERROR = 4
"""ggml's log levels are 1 debug, 2 info, 3 warning, 4 error, 5 continuation of the line before."""
_ALL_LAYERS = 9999
_recent_errors: deque[str] = deque(maxlen=8)
"""llama.cpp's own last error lines, to explain a load that failed."""

MEMORY_HINT = "free memory, or lower llm.context_tokens and llm.cache_tokens, or choose a smaller model"


@dataclass(frozen=True, slots=True)
class ContextShape:
    """What the context is made of."""

    cache_tokens: int
    """Tokens that the KV cache holds, all sequences together."""
    sequences: int
    batch_tokens: int
    threads: int
    flash_attention: bool | None
    """None: llama.cpp decides."""


@cache
def native() -> ModuleType:
    """llama.cpp's C interface, with its log lines sent to Python's logging instead of the terminal."""
    import llama_cpp

    lib: ModuleType = llama_cpp.llama_cpp
    # llama.cpp keeps only the pointer: the callback object must live as long as the library.
    lib._antiphon_log_callback = lib.llama_log_callback(_on_log)  # type: ignore[attr-defined]
    lib.llama_log_set(lib._antiphon_log_callback, ctypes.c_void_p(0))
    lib.llama_backend_init()
    return lib


def _on_log(level: int, text: bytes, _user_data: Any) -> None:
    line = text.decode("utf-8", "replace").strip()
    if not line:
        return
    if level == _ERROR:
        _recent_errors.append(line)
    # Never louder than info: what matters to a user comes as an exception, which quotes these lines.
    _native_log.log(logging.INFO if level == _ERROR else logging.DEBUG, "llama.cpp", extra={"line": line})


class NativeModel:
    """A loaded GGUF and its vocabulary.

    :raises EngineLoadFailed: the file is no GGUF, is damaged, or does not fit in memory.
    """

    def __init__(self, path: str, *, gpu_layers: int) -> None:
        _check_gguf(path)
        self.lib = native()
        self.path = path
        _recent_errors.clear()
        params = self.lib.llama_model_default_params()
        params.n_gpu_layers = gpu_layers if gpu_layers >= 0 else _ALL_LAYERS
        self.handle = self.lib.llama_model_load_from_file(os.fsencode(path), params)
        if not self.handle:
            raise EngineLoadFailed(
                f"llama.cpp cannot load '{path}': {_why()}",
                stage="llm",
                engine="llama_cpp",
                hint="check the file with `antiphon models verify`, or pull it again",
            )
        self.vocab = self.lib.llama_model_get_vocab(self.handle)
        self.vocab_size = int(self.lib.llama_vocab_n_tokens(self.vocab))
        self.trained_context = int(self.lib.llama_model_n_ctx_train(self.handle))
        self.parameters = int(self.lib.llama_model_n_params(self.handle))
        self._pieces: dict[int, bytes] = {}

    def close(self) -> None:
        if self.handle:
            self.lib.llama_model_free(self.handle)
            self.handle = None

    def metadata(self, key: str) -> str | None:
        """A scalar of the GGUF's metadata as text."""
        size = int(self.lib.llama_model_meta_val_str(self.handle, key.encode(), None, 0))
        if size < 0:
            return None
        buffer = ctypes.create_string_buffer(size + 1)
        self.lib.llama_model_meta_val_str(self.handle, key.encode(), buffer, size + 1)
        return buffer.value.decode("utf-8", "replace")

    def cache_bytes_per_token(self) -> int:
        """Bytes of KV cache for one token (16-bit), by the model's shape; 0 if it cannot be told."""
        heads = int(self.lib.llama_model_n_head(self.handle))
        if heads <= 0:
            return 0
        width = int(self.lib.llama_model_n_embd(self.handle)) // heads
        layers = int(self.lib.llama_model_n_layer(self.handle))
        kv_heads = int(self.lib.llama_model_n_head_kv(self.handle))
        return layers * kv_heads * width * 2 * 2

    def tokenize(self, text: str) -> list[int]:
        """Tokens of a text in which control tokens are read as such. Lone surrogates become "?"."""
        data = text.encode("utf-8", "replace")
        if not data:
            return []
        size = len(data) + 8
        buffer = (self.lib.llama_token * size)()
        count = int(self.lib.llama_tokenize(self.vocab, data, len(data), buffer, size, False, True))
        return list(buffer[:count])

    def piece(self, token: int) -> bytes:
        """A token's bytes, control tokens included."""
        piece = self._pieces.get(token)
        if piece is None:
            buffer = ctypes.create_string_buffer(64)
            count = int(self.lib.llama_token_to_piece(self.vocab, token, buffer, len(buffer), 0, True))
            if count < 0:
                buffer = ctypes.create_string_buffer(-count)
                count = int(self.lib.llama_token_to_piece(self.vocab, token, buffer, len(buffer), 0, True))
            piece = self._pieces[token] = buffer.raw[:count]
        return piece

    def is_end(self, token: int) -> bool:
        return bool(self.lib.llama_vocab_is_eog(self.vocab, token))

    def is_control(self, token: int) -> bool:
        return bool(self.lib.llama_vocab_is_control(self.vocab, token))

    def control_texts(self) -> tuple[str, ...]:
        """The texts of all control tokens."""
        is_control, vocab = self.lib.llama_vocab_is_control, self.vocab
        found = (self.piece(token).decode("utf-8", "replace") for token in range(self.vocab_size)
                 if is_control(vocab, token))  # fmt: skip
        return tuple(text for text in found if len(text) > 1)

    def begin_token(self) -> int | None:
        """The token that every prompt of this model begins with, if there is one."""
        token = int(self.lib.llama_vocab_bos(self.vocab))
        return token if token >= 0 and self.lib.llama_vocab_get_add_bos(self.vocab) else None

    def special_texts(self) -> tuple[str, str]:
        """The texts of the begin and the end token, "" where there is none."""
        bos, eos = self.lib.llama_vocab_bos(self.vocab), self.lib.llama_vocab_eos(self.vocab)
        first, last = (self.piece(token).decode("utf-8", "replace") if token >= 0 else "" for token in (bos, eos))
        return first, last


class NativeContext:
    """One KV cache shared by several sequences, and the decoder in front of it.

    :raises EngineLoadFailed: the cache does not fit in memory.
    """

    def __init__(self, model: NativeModel, shape: ContextShape) -> None:
        self.lib = model.lib
        self.shape = shape
        self._vocab_size = model.vocab_size
        _check_memory(model, shape)
        _recent_errors.clear()
        params = self.lib.llama_context_default_params()
        params.n_ctx = shape.cache_tokens
        params.n_batch = params.n_ubatch = shape.batch_tokens
        params.n_seq_max = shape.sequences
        params.n_threads = params.n_threads_batch = shape.threads
        # One buffer for all: a sequence takes what it needs, and a shared prefix is stored once.
        params.kv_unified = True
        # Otherwise a sliding-window model could not go back to a shorter prefix.
        params.swa_full = True
        params.no_perf = True
        if shape.flash_attention is not None:
            params.flash_attn_type = int(shape.flash_attention)
        self.handle = self.lib.llama_init_from_model(model.handle, params)
        if not self.handle:
            raise EngineLoadFailed(
                f"llama.cpp cannot make a context of {shape.cache_tokens} tokens for '{model.path}': {_why()}",
                stage="llm",
                engine="llama_cpp",
                hint=MEMORY_HINT,
            )
        self._watchdog = Watchdog()
        self.can_abort = self._watchdog.attach(self.lib, self.handle)
        """Whether `decode` can be broken off."""
        self.memory = self.lib.llama_get_memory(self.handle)
        self._batch = self.lib.llama_batch_init(shape.batch_tokens, 0, 1)

    def close(self) -> None:
        if self.handle:
            self.lib.llama_batch_free(self._batch)
            self.lib.llama_free(self.handle)
            self.handle = None
            self._watchdog.close()

    def decode(
        self, sequence: int, tokens: Sequence[int], position: int, *, logits: bool, limit_s: float | None = None
    ) -> int:
        """Evaluate up to `batch_tokens` tokens of one sequence.

        Returns llama.cpp's status: 0 is success, 1 no room, 2 broken off; then nothing of it is left in the cache.

        :param logits: compute the logits of the last token, to sample from.
        :param limit_s: break it off after so many seconds; None: never.
        """
        batch = self._batch
        batch.n_tokens = len(tokens)
        for index, token in enumerate(tokens):
            batch.token[index] = token
            batch.pos[index] = position + index
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = sequence
            batch.logits[index] = 0
        batch.logits[len(tokens) - 1] = int(logits)
        if limit_s is None:
            return int(self.lib.llama_decode(self.handle, batch))
        with self._watchdog.within(limit_s):
            status = int(self.lib.llama_decode(self.handle, batch))
        if status == ABORTED:
            self.remove(sequence, position)
        return status

    def decode_each(self, pieces: Sequence[tuple[int, int, Sequence[int]]], *, limit_s: float | None = None) -> int:
        """Evaluate pieces of several sequences at once, each (sequence, position, tokens), with all their logits.

        Together they have at most `batch_tokens` tokens. Returns a status as :meth:`decode` does.
        """
        batch, index = self._batch, 0
        for sequence, position, tokens in pieces:
            for offset, token in enumerate(tokens):
                batch.token[index] = token
                batch.pos[index] = position + offset
                batch.n_seq_id[index] = 1
                batch.seq_id[index][0] = sequence
                batch.logits[index] = 1
                index += 1
        batch.n_tokens = index
        if limit_s is None:
            return int(self.lib.llama_decode(self.handle, batch))
        with self._watchdog.within(limit_s):
            status = int(self.lib.llama_decode(self.handle, batch))
        if status == ABORTED:
            for sequence, position, _ in pieces:
                self.remove(sequence, position)
        return status

    def log_probabilities(self, index: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Of every token to follow the one at `index` of the last evaluation, which computed its logits."""
        logits = self.lib.llama_get_logits_ith(self.handle, index)
        row = np.ctypeslib.as_array(logits, shape=(self._vocab_size,))
        top = row.max()
        return np.asarray(row - (top + np.log(np.exp(row - top).sum(dtype=np.float64))), dtype=np.float32)

    def log_probability(self, index: int, token: int) -> float:
        """Of one token to follow the one at `index` of the last evaluation."""
        logits = self.lib.llama_get_logits_ith(self.handle, index)
        row = np.ctypeslib.as_array(logits, shape=(self._vocab_size,))
        top = row.max()
        return float(row[token] - top - np.log(np.exp(row - top).sum(dtype=np.float64)))

    def use_threads(self, count: int) -> None:
        """For the evaluations from now on."""
        self.lib.llama_set_n_threads(self.handle, count, count)

    def clear(self) -> None:
        """Forget everything."""
        self.lib.llama_memory_clear(self.memory, True)

    # The three that a table of slots needs:

    def remove(self, sequence: int, start: int) -> bool:
        """Forget a sequence from position `start` on. False: this kind of memory cannot do that in part."""
        return bool(self.lib.llama_memory_seq_rm(self.memory, sequence, start, -1))

    def copy(self, source: int, target: int, size: int) -> None:
        """Give `target` (empty) the first `size` positions of `source`; nothing is computed."""
        self.lib.llama_memory_seq_cp(self.memory, source, target, 0, size)

    def length(self, sequence: int) -> int:
        """Positions that the cache holds for a sequence."""
        return int(self.lib.llama_memory_seq_pos_max(self.memory, sequence)) + 1


def _why() -> str:
    return _recent_errors[0] if _recent_errors else "no reason given"


def _check_gguf(path: str) -> None:
    problem = ""
    try:
        with Path(path).open("rb") as file:
            if file.read(4) != b"GGUF":
                problem = "it does not begin as a GGUF does"
    except OSError as error:
        problem = error.strerror or str(error)
    if problem:
        raise EngineLoadFailed(
            f"'{path}' cannot be loaded: {problem}",
            stage="llm",
            engine="llama_cpp",
            hint="llm.model must be a catalog name or a GGUF file; check it with `antiphon models verify`",
        )


def _check_memory(model: NativeModel, shape: ContextShape) -> None:
    """Refuse a cache that cannot fit: llama.cpp would touch every page of it, and the system would kill the process."""
    needed = shape.cache_tokens * model.cache_bytes_per_token()
    available = _available_bytes()
    if available is not None and needed > available:
        raise EngineLoadFailed(
            f"a KV cache of {shape.cache_tokens} tokens needs {needed / 2**20:.0f} MiB; "
            f"{available / 2**20:.0f} MiB are free",
            stage="llm",
            engine="llama_cpp",
            hint=MEMORY_HINT,
        )


def _available_bytes() -> int | None:
    """Memory that a new allocation may use, by the system and the control group; None where neither tells."""
    limits = []
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                limits.append(int(line.split()[1]) * 1024)
    limits.extend(_control_group_room())
    return min(limits, default=None)


def _control_group_room() -> Iterator[int]:
    group = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError):
        limit = (group / "memory.max").read_text().strip()
        if limit != "max":
            used = int((group / "memory.current").read_text())
            yield max(0, int(limit) - used)
