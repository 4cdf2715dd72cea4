"""The section `transcript`: what it takes, and that it gives no password away. And the service made of it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from scripted_engines import CONFIG
from transcript_events import Talk, tell

from antiphon.engines.audio import AudioFrame
from antiphon.pipeline.config import Config, InvalidConfig, dump_config, parse_config
from antiphon.pipeline.config.transcript import TranscriptKeys, span
from antiphon.pipeline.transcript import TranscriptError, TranscriptKeyError, TranscriptService
from antiphon.pipeline.transports.recording import RecordingTransport, recording_frames

SECRET = "s3cret-pass"


def load(section: str, **environ: str) -> Config:
    return parse_config(CONFIG + f"transcript: {section}\n", environ=environ)


def test_nothing_is_kept_unless_asked_for() -> None:
    assert parse_config(CONFIG).transcript.store == "none"


def test_a_password_from_the_environment_is_never_shown() -> None:
    config = load('{store: "postgresql://me:${PW}@db.example/talks"}', PW=SECRET)
    assert SECRET in config.transcript.store
    shown = dump_config(config)
    assert SECRET not in shown and "postgresql://***@db.example/talks" in shown


@pytest.mark.parametrize(
    ("section", "what"),
    [
        (f"{{store: mysql://me:{SECRET}@db/talks}}", "allowed: none, sqlite, or postgresql"),
        (f"{{store: 'postgresql://db/talks?password={SECRET}'}}", "write the password before the host"),
        ("{store: sqlite, keep: soon}", "keep"),
        ("{store: sqlite, keep_audio: 30}", "keep_audio"),
        ("{store: sqlite, durability: best}", "normal or full"),
        ("{stoer: sqlite}", "store"),
    ],
)
def test_mistakes_are_named_and_passwords_are_not(section: str, what: str) -> None:
    with pytest.raises(InvalidConfig) as raised:
        load(section)
    assert what in str(raised.value)
    if "?password" not in section:  # one that stands in the file, in a place that is not for it, is quoted from there
        assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "length"),
    [("30d", timedelta(days=30)), ("1.5 h", timedelta(minutes=90)), ("2w", timedelta(weeks=2)), ("0m", timedelta(0))],
)
def test_spans(text: str, length: timedelta) -> None:
    assert span(text) == length
    assert load(f"{{keep: '{text}'}}").transcript.keep == text


def silence(seconds: float = 0.5) -> RecordingTransport:
    import numpy as np

    frame = AudioFrame(np.zeros(round(seconds * 16000), dtype=np.float32), 16000)
    return RecordingTransport(recording_frames(frame, paced=False), paced=False)


def test_the_service_gives_a_session_all_it_needs(tmp_path: Path) -> None:
    keys = TranscriptKeys(store="sqlite", path=tmp_path / "t.db", record_audio=True, person="ada", keep="30d")

    async def main() -> None:
        async with TranscriptService(keys, rate_hz=16000, version="0.1") as transcripts:
            assert transcripts.enabled and transcripts.store is not None
            begun = transcripts.begin("sess_a", silence(), config={"llm": "x"})
            async for _ in begun.transport.frames():
                pass
            tell(begun.recorder, *Talk().whole_turn(1, "Hello?", "Hi."))
            await begun.aclose()
            info = transcripts.store.session("sess_a")
            assert (info.person, info.version, info.ended, info.audio_files) == ("ada", "0.1", True, ("sess_a.flac",))
            closed = [one for one in transcripts.store.records("sess_a") if one.kind == "audio"]
            assert [(one.data["state"], one.data.get("duration_s")) for one in closed] == [
                ("opened", None),
                ("closed", 0.5),
            ]
            again = await transcripts.conversation("sess_a")
            assert [item.text for item in again] == ["Hello?", "Hi."]

    asyncio.run(main())


def test_the_service_forgets_what_is_too_old(tmp_path: Path) -> None:
    path = tmp_path / "t.db"

    async def main(keep: str) -> list[str]:
        async with TranscriptService(TranscriptKeys(store="sqlite", path=path, keep=keep)) as transcripts:
            assert transcripts.store is not None
            await asyncio.to_thread(transcripts.prune)
            left = [info.id for info in transcripts.store.sessions()]
            begun = transcripts.begin(f"sess_{keep}", silence())
            await begun.aclose()
            return left

    assert asyncio.run(main("1h")) == []
    assert asyncio.run(main("2h")) == ["sess_1h"]
    assert asyncio.run(main("0m")) == []


def test_without_a_store_there_is_nothing_to_begin(tmp_path: Path) -> None:
    async def main() -> None:
        async with TranscriptService(TranscriptKeys()) as transcripts:
            assert not transcripts.enabled
            with pytest.raises(TranscriptError, match="no transcripts are kept"):
                transcripts.begin("sess_a", silence())
            with pytest.raises(TranscriptError, match="no transcripts are kept"):
                await transcripts.conversation("sess_a")

    asyncio.run(main())


def test_offline_keeps_transcripts_on_this_machine() -> None:
    keys = TranscriptKeys(store=f"postgresql://me:{SECRET}@db.example/talks")

    async def main() -> None:
        async with TranscriptService(keys, offline=True):
            raise AssertionError("it began")

    with pytest.raises(TranscriptError, match=r"another machine \(db\.example\)") as raised:
        asyncio.run(main())
    assert SECRET not in str(raised.value)


def test_encryption_without_a_key_is_refused_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTIPHON_RECORDING_KEY", raising=False)
    keys = TranscriptKeys(store="sqlite", path=tmp_path / "t.db", record_audio=True, encrypt=True)

    async def main() -> None:
        async with TranscriptService(keys):
            raise AssertionError("it began")

    with pytest.raises(TranscriptKeyError, match="there is no key"):
        asyncio.run(main())
    assert not (tmp_path / "t.db").exists()
