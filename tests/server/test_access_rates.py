"""Token buckets on a clock of the test's own, and the table of routes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.server.access.rates import MAX_BUCKETS, Rates, TokenBucket, headers_of, span
from antiphon.server.access.routes import ELSE, RULES, rule_for


@given(
    st.integers(1, 50),
    st.floats(0.1, 120),
    st.lists(st.floats(0, 30), min_size=1, max_size=150),
)
def test_no_span_of_time_gives_more_than_a_full_bucket_and_what_flows_in(
    limit: int, period_s: float, waits: list[float]
) -> None:
    bucket = TokenBucket(limit, period_s, 0.0)
    now_s, taken = 0.0, []
    for wait_s in waits:
        now_s += wait_s
        said = bucket.take(now_s)
        assert 0 <= said.remaining <= limit and said.limit == limit
        assert 0 <= said.reset_s <= period_s * (1 + 1e-9)
        if said.allowed:
            taken.append(now_s)
        else:
            assert said.retry_s > 0
    for first, begin in enumerate(taken):
        for last in range(first, len(taken)):
            flowed = (taken[last] - begin) * limit / period_s
            assert last - first + 1 <= limit + flowed + 1e-6


@given(st.integers(1, 50), st.floats(0.1, 120))
def test_after_the_time_that_it_names_there_is_one_more_and_not_before(limit: int, period_s: float) -> None:
    bucket = TokenBucket(limit, period_s, 0.0)
    for _ in range(limit):
        assert bucket.take(0.0).allowed
    refused = bucket.take(0.0)
    assert not refused.allowed and refused.retry_s == pytest.approx(period_s / limit)
    assert not bucket.take(refused.retry_s * 0.9).allowed
    assert bucket.take(refused.retry_s).allowed


def test_a_clock_that_goes_back_fills_nothing() -> None:
    bucket = TokenBucket(2, 60, 100.0)
    assert [bucket.take(now).allowed for now in (100, 100, 0, 0, 100)] == [True, True, False, False, False]


def test_one_name_costs_another_nothing_and_memory_is_bounded() -> None:
    now = [0.0]
    rates = Rates(2, 60, lambda: now[0])
    assert [rates.take("one").allowed for _ in range(3)] == [True, True, False]
    assert rates.take("two").allowed
    for number in range(MAX_BUCKETS + 10):
        rates.take(f"n{number}")
    assert len(rates._buckets) == MAX_BUCKETS
    rates.set_limit(1)
    assert [rates.take("two").allowed for _ in range(2)] == [True, False]


def test_headers_are_those_that_clients_know() -> None:
    bucket = TokenBucket(60, 60, 0.0)
    bucket.take(0.0)
    assert headers_of(bucket.take(0.0)) == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "58",
        "x-ratelimit-reset-requests": "2s",
    }
    assert [span(one) for one in (0, 0.0124, 0.9999, 1.25, 59.99, 60, 125.2, 3600)] == [
        "0ms", "13ms", "1000ms", "1.3s", "60s", "1m0s", "2m6s", "60m0s",
    ]  # fmt: skip


# ------------------------------------------------------------------------------------------ the table


@pytest.mark.parametrize(
    ("path", "needs"),
    [
        ("/healthz", "public"),
        ("/", "public"),
        ("/v1/audio/speech", "audio"),
        ("/v1/models/a/b", "any"),
        ("/v1/realtime", "realtime"),
        ("/v1/realtime/calls/rtc_1/hangup", "realtime"),
        ("/v1/admin/reload", "admin"),
        ("/v1/audiox", "admin"),
        ("/healthzz", "admin"),
        ("//healthz", "admin"),
        ("/console/../v1/admin", "public"),  # the router sees this very text, and has no such route
        ("", "admin"),
        ("/v1", "admin"),
    ],
)
def test_a_path_needs_what_its_longest_row_says(path: str, needs: str) -> None:
    assert rule_for(path).needs == needs


def test_minting_keys_and_more_than_beginning_conversations_needs_a_lasting_key() -> None:
    opened = {rule.path for rule in RULES if rule.ephemeral}
    assert opened == {"/v1/realtime", "/v1/realtime/calls"}
    assert rule_for("/v1/realtime/client_secrets").ephemeral is False
    assert ELSE.needs == "admin" and not ELSE.ephemeral


@given(st.text(max_size=60))
def test_what_no_row_covers_is_for_admins(path: str) -> None:
    rule = rule_for(path)
    assert rule is ELSE or path == rule.path or path.startswith(f"{rule.path}/")


def test_looking_takes_nothing() -> None:
    rates = Rates(2, clock=lambda: 0.0)
    assert [rates.look("a").remaining for _ in range(5)] == [2] * 5
    rates.take("a")
    rates.take("a")
    assert not rates.look("a").allowed and rates.look("b").allowed
