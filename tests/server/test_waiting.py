"""Who comes when the machine carries no more: refused, or taken in to wait; on the virtual clock."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from operated import Caller, call, figures, operating
from served import config

from antiphon.engines.testing import Reply, ScriptedTTS, run_virtual
from antiphon.pipeline.errors import ConfigError
from antiphon.pipeline.session_settings import Place
from antiphon.server.admission import Refused
from antiphon.server.service import Service
from antiphon.server.talks import LIVE_S

NOTICE, OVER = "All lines are busy.", "Thank you."


def waiting(**server: Any) -> Any:
    settings = {"max_sessions": 1, "when_full": "wait", "full_notice": NOTICE, "wait_over_notice": OVER, **server}
    return config(settings, llm=[Reply.of("It is noon.")], session={"greeting": "Hello.", "on_error": ""})


def seconds(text: str) -> float:
    return len(text) * 0.06  # as the scripted voice speaks


def heard_s(caller: Caller) -> float:
    return len(caller.audio) / 2 / 16000


def test_one_waits_hears_why_is_not_heard_and_is_greeted_when_there_is_room() -> None:
    async def main() -> None:
        async with operating(waiting()) as service:
            first = await call(service)
            await first.ask()
            second = await call(service)
            assert figures_waiting(service) == 1
            talking = asyncio.create_task(second.ask(wait_s=4.0))  # into the wait
            await first.ask()
            assert second.texts("user") == [] and second.texts("agent") == []
            assert heard_s(second) == pytest.approx(seconds(NOTICE), abs=0.1)
            await first.hang_up()
            await talking
            assert figures_waiting(service) == 0
            assert heard_s(second) == pytest.approx(seconds(NOTICE + OVER + "Hello."), abs=0.3)
            await second.ask()
            assert second.texts("user") == ["what time is it"]
            assert second.texts("agent") == ["Hello.", "It is noon."]
            await second.hang_up()

    run_virtual(main())


def figures_waiting(service: Service) -> int:
    return len(service.talks.waiting)


def test_the_notice_costs_the_voice_nothing_while_all_are_busy() -> None:
    async def main() -> None:
        given = waiting()
        async with operating(given) as service:
            voice: ScriptedTTS = given.tts[0].options.engine  # type: ignore[attr-defined]
            first = await call(service)
            await first.be_silent(1.0)
            asked = len(voice.calls)
            others = [await call(service) for _ in range(3)]
            for other in others:
                await other.be_silent(2.0)
            assert len(voice.calls) == asked and all(heard_s(other) > 0.5 for other in others)
            for caller in (first, *others):
                await caller.hang_up()

    run_virtual(main())


def test_the_first_to_come_is_the_first_to_be_let_in_and_nobody_overtakes() -> None:
    async def main() -> None:
        async with operating(waiting(max_waiting=2)) as service:
            callers = [await call(service) for _ in range(3)]
            with pytest.raises(Refused) as full:
                await call(service)
            assert (full.value.code, full.value.retry_after_s) == ("full", 10)
            served = []
            for caller in callers:
                served.append([one is None for one in (talk.place for talk in service.talks)])
                await caller.hang_up()
            assert served == [[True, False, False], [True, False], [True]]

    run_virtual(main())


def test_who_has_waited_too_long_is_let_go() -> None:
    async def main() -> dict[str, float]:
        async with operating(waiting(max_wait_s=5.0)) as service:
            first, second = await call(service), await call(service)
            for caller in (first, second):
                await caller.be_silent(0.1)
            assert second.serving is not None
            async with asyncio.timeout(10):
                await asyncio.gather(second.serving, first.be_silent(6.0))
            assert service.sessions == 1
            await first.hang_up()
            return figures(service)

    assert run_virtual(main())["antiphon_admission_refused_total{reason=waited}"] == 1


class SlowToGo:
    """Somebody who is told that it is over, and stays."""

    closed = 0

    def close(self) -> None:
        self.closed += 1


def test_who_is_let_go_and_stays_for_a_while_is_told_and_counted_once_and_not_let_in() -> None:
    async def main() -> dict[str, float]:
        async with operating(waiting(max_wait_s=5.0)) as service:
            served, slow, place = SlowToGo(), SlowToGo(), Place(asyncio.Event(), NOTICE, OVER)
            before = service.talks.begin(served, waits=None)
            service.talks.begin(slow, waits=place)
            await asyncio.sleep(10)
            service.talks.end(before)
            service.admission.let_in()
            assert slow.closed == 1 and not place.free.is_set()
            return figures(service)

    assert run_virtual(main())["antiphon_admission_refused_total{reason=waited}"] == 1


def test_one_who_hangs_up_while_waiting_leaves_no_trace() -> None:
    async def main() -> None:
        async with operating(waiting()) as service:
            first, second = await call(service), await call(service)
            await second.be_silent(1.0)
            await second.hang_up()
            assert (service.sessions, service.talks.waiting) == (1, [])
            await first.hang_up()

    run_virtual(main())


# ------------------------------------------------------------------------------------- capacity


def test_only_conversations_in_which_somebody_speaks_take_a_place() -> None:
    async def main() -> None:
        async with operating(config({"capacity": 1, "max_sessions": 10})) as service:
            first = await call(service)
            await first.ask()
            with pytest.raises(Refused, match="carries: 1"):
                await call(service)
            await first.be_silent(LIVE_S + 3)
            second = await call(service)
            assert (service.sessions, service.live) == (2, 1)
            for caller in (first, second):
                await caller.hang_up()

    run_virtual(main())


def result(folder: Path, **steps: str) -> Path:
    path = folder / "result.json"
    found = [{"sessions": int(name[1:]), **({"broken": why} if why else {})} for name, why in steps.items()]
    path.write_text(json.dumps({"load": {"steps": found}}))
    return path


def test_the_load_test_says_how_many_are_taken(tmp_path: Path) -> None:
    async def main() -> None:
        path = result(tmp_path, n1="", n2="", n4="p95")
        async with operating(config({"capacity_from": path})) as service:
            callers = [await call(service), await call(service)]
            with pytest.raises(Refused) as busy:
                await call(service)
            assert busy.value.code == "busy"
            for caller in callers:
                await caller.hang_up()

    run_virtual(main())


def test_late_answers_close_the_door_before_it_is_worse(tmp_path: Path) -> None:
    async def main() -> None:
        given = config({"max_sessions": 8}, llm=[Reply.of("It is noon.", first_delay_s=2.5)])
        async with operating(given) as service:
            callers = [await call(service) for _ in range(3)]
            for _ in range(2):
                await asyncio.gather(*(caller.ask(wait_s=6.0) for caller in callers))
            assert service.admission.carries == 2
            with pytest.raises(Refused, match="carries: 2"):
                await call(service)
            for caller in callers:
                await caller.hang_up()

    run_virtual(main())


def test_one_stall_of_the_event_loop_costs_no_places_and_several_do() -> None:
    async def main() -> None:
        stall = [0.8 - 0.05 * number for number in range(16)]
        async with operating(config({"max_sessions": 16})) as service:
            for _ in range(2):
                service.talks.begin(SlowToGo(), waits=None)
            await asyncio.sleep(0.5)
            service._on_lag(stall)
            service.admission.look()
            assert service.admission.carries == 16
            for _ in range(2):
                service._on_lag(stall)
            service.admission.look()
            assert service.admission.carries == 1

    run_virtual(main())


@pytest.mark.parametrize("content", ["{}", "nothing", '{"load": {"steps": [{"sessions": 1, "broken": "p95"}]}}'])
def test_a_result_that_says_nothing_is_told_at_the_start(tmp_path: Path, content: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"server\.capacity_from: 'result\.json'"):
        Service(config({"capacity_from": path}))
