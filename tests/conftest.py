"""What all tests share: the human clip set, a home of their own, and the rule about skipping."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

# A slow machine is no failed test. Examples are the same in each run, so that a change is judged by what it changes;
# `make explore` looks for new ones.
hypothesis.settings.register_profile("antiphon", deadline=None, derandomize=True, database=None, print_blob=True)
hypothesis.settings.register_profile("explore", deadline=None, derandomize=False, print_blob=True)
hypothesis.settings.load_profile("explore" if os.environ.get("ANTIPHON_EXPLORE") else "antiphon")

os.environ.pop("ANTIPHON_API_KEYS", None)  # a server in a test has the keys that the test gives it

NEEDS_CLIPS = "needs the human clip set"
NEEDS_POSTGRES = "needs a PostgreSQL server"
_other_skips: list[str] = []
_clip_skips: list[str] = []
_server_skips: list[str] = []


def pytest_configure(config: pytest.Config) -> None:
    """Keys, records and catalogs of whoever runs the tests are not those of the tests; the models are."""
    from antiphon.engines.models.store import antiphon_home

    own, before = Path(tempfile.mkdtemp(prefix="antiphon-tests-")), os.environ.get("ANTIPHON_HOME")
    (own / "models").symlink_to((antiphon_home() / "models").resolve(), target_is_directory=True)
    os.environ["ANTIPHON_HOME"] = str(own)

    def give_back() -> None:
        os.environ.pop("ANTIPHON_HOME", None)
        if before is not None:
            os.environ["ANTIPHON_HOME"] = before
        shutil.rmtree(own, ignore_errors=True)

    config.add_cleanup(give_back)


_freeze: Callable[[], None] = gc.freeze


def pytest_collection_finish(session: pytest.Session) -> None:
    """Each assembly collects garbage once it is loaded, and freezes what is left; its end unfreezes all.

    Among all that the tests import this takes half a second each time. So that is frozen once, and for good, here; and
    what tests make is not, since it would never be collected.
    """
    gc.freeze = gc.unfreeze = lambda: None
    gc.collect()
    _freeze()


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """What a file of tests has imported stays, too."""
    if nextitem is not None and nextitem.path != item.path:
        gc.collect()
        _freeze()


@atexit.register
def close_what_llama_cpp_leaves_open() -> None:
    """It opens two files when it is imported, and closes them never."""
    if (utils := sys.modules.get("llama_cpp._utils")) is not None:
        utils.outnull_file.close()
        utils.errnull_file.close()


def clip_folder() -> Path:
    return Path(os.environ.get("ANTIPHON_CLIPS") or Path(__file__).parents[2] / "shared" / "audio")


@pytest.fixture(scope="session")
def clips() -> Path:
    """The folder of the human clip set."""
    folder = clip_folder()
    if not (folder / "index.tsv").exists():
        pytest.skip(NEEDS_CLIPS)
    return folder


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Sort out who skipped, and why. (With several workers this is called where all reports come together, too.)"""
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if NEEDS_CLIPS in reason:
            _clip_skips.append(f"{report.nodeid}: {reason}")
        else:
            (_server_skips if NEEDS_POSTGRES in reason else _other_skips).append(f"{report.nodeid}: {reason}")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A test that skips for any reason but the clips or the server has not run where it had to: a failure."""
    if _other_skips and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _clip_skips:
        terminalreporter.write_line(f"{len(_clip_skips)} tests were skipped: they need the human clip set")
    if _server_skips:
        terminalreporter.write_line(f"{len(_server_skips)} tests were skipped: they need a PostgreSQL server")
    for line in _other_skips:
        terminalreporter.write_line(f"NOT ALLOWED TO SKIP: {line}", red=True)
