"""What is said about a crash."""

from __future__ import annotations

import signal

import pytest

from antiphon.engines.crash_hints import HINTS, CrashHint, explain, how_it_ended


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (-signal.SIGSEGV, ("SIGSEGV", "its process died of SIGSEGV (segmentation fault)")),
        (-signal.SIGUSR1, ("SIGUSR1", "its process died of SIGUSR1")),
        (-250, ("signal 250", "its process died of signal 250")),
        (3, ("", "its process ended with exit code 3")),
    ],
)
def test_how_it_ended(code: int, expected: tuple[str, str]) -> None:
    assert how_it_ended(code) == expected


AMX, PLAIN = frozenset({"avx2", "amx_tile"}), frozenset({"avx2"})


@pytest.mark.parametrize(
    ("name", "trace", "flags", "machine", "expected"),
    [
        ("SIGSEGV", "llama_cpp", AMX, "x86_64", "-mno-amx-tile"),
        ("SIGSEGV", "libllama.so", AMX, "x86_64", "-mno-amx-tile"),
        ("SIGSEGV", "llama_cpp", PLAIN, "x86_64", "models verify"),
        ("SIGSEGV", "llama_cpp", AMX, "aarch64", "models verify"),
        ("SIGSEGV", "onnxruntime", AMX, "x86_64", "models verify"),
        ("SIGILL", "llama_cpp", PLAIN, "x86_64", "GGML_NATIVE=OFF"),
        ("SIGILL", "ctranslate2", PLAIN, "x86_64", "another version"),
        ("SIGKILL", "", PLAIN, "x86_64", "out of memory"),
        ("SIGBUS", "", PLAIN, "x86_64", "full disk"),
        ("SIGABRT", "", PLAIN, "x86_64", "gave up by itself"),
    ],
)
def test_the_first_hint_that_fits(name: str, trace: str, flags: frozenset[str], machine: str, expected: str) -> None:
    assert expected in explain(name, trace, cpu_flags=flags, machine=machine)


def test_nothing_is_said_about_what_is_not_known() -> None:
    assert explain("", "exit code 3") == ""
    assert explain("SIGUSR1", "llama") == ""


def test_hints_are_data() -> None:
    mine = CrashHint("Use the other build.", mentions="mylib")
    assert explain("SIGTERM", "in mylib.so", hints=(mine, *HINTS)) == "Use the other build."
