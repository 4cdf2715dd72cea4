# Every target makes what it needs, is safe to repeat, and works offline once everything was fetched.
PYTHON ?= python3
BIN := .venv/bin
CLIPS ?= $(wildcard ../shared/audio)
TEST_WORKERS ?= 2
DEMO_QUESTION ?= What is the capital of France?

.DEFAULT_GOAL := help
.PHONY: help setup setup-run setup-dev demo test lint bench bench-peers bench-components soak explore interop docs clean

help:
	@echo "make setup    .venv/bin/antiphon with all local engines, and the models of local.yaml"
	@echo "make demo     ask a question aloud, answer it aloud: out/question.wav, out/answer.wav"
	@echo "make test     every test, on real models too"
	@echo "make lint     ruff, mypy --strict, import-linter"
	@echo "make bench    three configurations on 20 clips: out/bench (CLIPS=folder with index.tsv)"
	@echo "make bench-peers   the same, with Pipecat, LiveKit Agents and agents.voice beside it: out/bench-peers"
	@echo "make bench-components   VADs and Whisper windows by themselves, on the same clips"
	@echo "make soak     hundreds of turns with interruptions, hundreds of kills: nothing grows, nothing is missing (docs/soak.md)"
	@echo "make explore  the tests that make up examples, with new ones each time (make test has always the same)"
	@echo "make interop  other people's clients and SDKs against our server, in Node, Chromium and Firefox too: docs/interop.md"
	@echo "make docs     write the generated reference pages"

setup-run:
	@$(PYTHON) scripts/setup.py run

setup-dev:
	@$(PYTHON) scripts/setup.py dev

setup: setup-run
	@$(BIN)/antiphon models pull --for local.yaml

demo:
	@echo "antiphon demo: from nothing this takes 6 to 12 minutes on two cores; most of it compiles llama.cpp, once"
	@$(MAKE) --no-print-directory setup
	@mkdir -p out
	@echo; echo "$$ antiphon say local.yaml \"$(DEMO_QUESTION)\" --out out/question.wav"
	@$(BIN)/antiphon say local.yaml "$(DEMO_QUESTION)" --out out/question.wav
	@echo; echo "$$ antiphon run configs/local.yaml --in out/question.wav --out out/answer.wav --events out/events.jsonl"
	@$(BIN)/antiphon run configs/local.yaml --in out/question.wav --out out/answer.wav --events out/events.jsonl
	@echo; echo "the question: out/question.wav   the answer: out/answer.wav   every event: out/events.jsonl"
	@echo "talk to it:   .venv/bin/antiphon serve, then http://127.0.0.1:8080/console/ in a browser of this machine"
	@echo "              .venv/bin/antiphon run (by microphone and speaker; wants PortAudio: apt install libportaudio2)"

test: setup-dev
	@$(BIN)/antiphon models pull --all
	@$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile

lint: setup-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy -p antiphon
	@$(BIN)/lint-imports

bench: setup-dev
	@$(BIN)/antiphon models pull --all
	@test -n "$(CLIPS)" || { echo "bench: give a folder of clips with index.tsv: make bench CLIPS=folder"; exit 2; }
	@$(BIN)/antiphon bench run configs/tiny.yaml configs/local.yaml configs/webrtcvad.yaml --clips "$(CLIPS)" \
		--where lang=en --where "speech_end_s=?*" --limit 20 --starts 3 --barge-in 6 --out out/bench --force

bench-peers: setup-dev
	@$(BIN)/antiphon models pull --all
	@test -n "$(CLIPS)" || { echo "bench-peers: give a folder of clips with index.tsv: make bench-peers CLIPS=folder"; exit 2; }
	@$(BIN)/antiphon bench peers install
	@$(BIN)/antiphon bench run configs/tiny.yaml configs/local.yaml configs/webrtcvad.yaml --clips "$(CLIPS)" \
		--where lang=en --where "speech_end_s=?*" --limit 20 --starts 3 --barge-in 6 --out out/bench-peers --force \
		--peer pipecat --peer livekit --peer agents.voice

bench-components: setup-dev
	@$(BIN)/antiphon models pull --all
	@test -n "$(CLIPS)" || { echo "bench-components: give a folder of clips with index.tsv: CLIPS=folder"; exit 2; }
	@$(BIN)/python -m antiphon.benchmarks.vad_compare --clips "$(CLIPS)"
	@$(BIN)/python -m antiphon.benchmarks.stt_window --clips "$(CLIPS)"

soak: setup-dev
	@$(BIN)/antiphon models pull --all
	@ANTIPHON_SOAK=full $(BIN)/python -m pytest tests/soak --timeout 3600

explore: setup-dev
	@ANTIPHON_EXPLORE=1 $(BIN)/python -m pytest -m hypothesis -n $(TEST_WORKERS) --dist loadfile

interop: setup-dev
	@$(BIN)/antiphon models pull --for tiny.yaml
	@$(BIN)/python interop/install.py
	@ANTIPHON_INTEROP_TABLE=docs/interop.md $(BIN)/python -m pytest tests/interop

docs: setup-dev
	@$(BIN)/python -m antiphon.pipeline.docs_gen

clean:
	rm -rf .venv out build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis src/*.egg-info
