"""What is said about a crash."""

from __future__ import annotations

import shlex
import signal

import pytest

from antiphon.engines.crash_hints import HINTS, BuildNote, CrashHint, explain, how_it_ended, install_command


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


@pytest.mark.parametrize(
    ("missing", "flags", "machine", "amx"),
    [
        (["llama_cpp"], AMX, "x86_64", True),
        (["jinja2", "llama_cpp"], AMX, "x86_64", True),
        (["jinja2"], AMX, "x86_64", False),
        (["llama_cpp"], PLAIN, "x86_64", False),
        (["llama_cpp"], AMX, "aarch64", False),
    ],
)
def test_how_a_package_is_installed_here(missing: list[str], flags: frozenset[str], machine: str, amx: bool) -> None:
    command = install_command("antiphon[local-core]", missing, cpu_flags=flags, machine=machine)
    variables, _, rest = command.rpartition('pip install "antiphon[local-core]"')
    assert rest == ""
    if not amx:
        assert variables == ""
        return
    (variable,) = shlex.split(variables)
    name, _, arguments = variable.partition("=")
    assert name == "CMAKE_ARGS"
    flags_c = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
    assert shlex.split(arguments)[:2] == [f"-DCMAKE_C_FLAGS={flags_c}", f"-DCMAKE_CXX_FLAGS={flags_c}"]
    assert variables.strip() in explain("SIGSEGV", "llama_cpp", cpu_flags=AMX, machine="x86_64"), "the same flags"


def test_how_to_build_is_data() -> None:
    note = BuildNote("mylib", "MYLIB_FAST=0", "avx2", ("x86_64",))
    command = install_command("mylib", ["mylib"], cpu_flags=PLAIN, machine="x86_64", notes=(note,))
    assert command == 'MYLIB_FAST=0 pip install "mylib"'


def test_hints_are_data() -> None:
    mine = CrashHint("Use the other build.", mentions="mylib")
    assert explain("SIGTERM", "in mylib.so", hints=(mine, *HINTS)) == "Use the other build."
