// What the events of the pipeline say, as turns. Pure: no page, no clock of its own.

const MAX_TURNS = 400;
const MAX_NOTES = 5;
/** What a later session is told of an earlier one: the last turns, within so many characters. */
const TOLD_TURNS = 40;
const TOLD_CHARS = 20_000;

let serial = 0;

function newTurn(number) {
  serial += 1;
  return {
    id: `turn-${serial}`,
    number,
    user: "",
    userFinal: false,
    typed: false,
    /** What the model has written, and how much of it has gone to the loudspeaker. */
    written: "",
    spoken: "",
    /** What was heard of an answer that was cut, and what was not; null: it was not cut. */
    heard: null,
    unheard: "",
    paused: false,
    /** open, hearing, thinking, speaking; then as in `turn_ended`. */
    status: "open",
    reason: "",
    speculated: false,
    calls: [],
    approvals: [],
    checks: [],
    /** What was said to bridge a wait; no part of the answer. */
    fillers: [],
    errors: [],
    /** What went less well than it should, and was helped. */
    warnings: [],
    timings: {},
    exact: false,
    speculation: null,
    usage: [],
    ended: false,
    /** Why a session begins with this turn, where an earlier one went before it. */
    seam: "",
  };
}

/** Keeps a conversation's turns up to date with its events. */
export class Conversation {
  constructor() {
    this.clear();
  }

  clear() {
    this.turns = [];
    this.session = "";
    this.phase = "listening";
    this.interruptions = 0;
    this._byNumber = new Map();
    this._aside = null;
    this._seam = "";
  }

  /**
   * Another session goes on with it: its turns count from 1 again, and what was under way is not finished any more.
   * @param {string} seam why, for the reader
   * @param {"broken"|"unfinished"} status of the turns that were under way
   * @returns {object[]} the turns that have changed
   */
  goOn(seam, status = "unfinished") {
    const open = this.turns.filter((turn) => !turn.ended);
    for (const turn of open) Object.assign(turn, { ended: true, status, userFinal: true, paused: false });
    this.phase = "listening";
    this._byNumber = new Map();
    this._aside = null;
    this._seam = this.turns.length ? seam : "";
    return open;
  }

  /** What was said, for a session that goes on with it: of the assistant's words those that were heard. */
  told() {
    const found = [];
    let chars = 0;
    for (const turn of this.turns.slice(-TOLD_TURNS).reverse()) {
      const said = [
        { role: "user", text: turn.user.trim() },
        { role: "assistant", text: answerPieces(turn).filter(({ kind }) => kind === "heard").map(({ text }) => text).join("").trim() },
      ].filter(({ text }) => text);
      chars += said.reduce((sum, { text }) => sum + text.length, 0);
      if (chars > TOLD_CHARS) break;
      found.unshift(...said);
    }
    return found;
  }

  /** @param {object[]} turns of an earlier page, as `turns` had them */
  restore(turns) {
    this.clear();
    this.turns = turns.map((turn) => Object.assign(newTurn(0), turn, { id: newTurn(0).id }));
    this.interruptions = this.turns.filter((turn) => turn.heard !== null).length;
  }

  /** Something that the user typed. */
  type(text) {
    const turn = this._add(newTurn(0));
    Object.assign(turn, { user: text, userFinal: true, typed: true, status: "thinking" });
    this._aside = turn;
    this.phase = "thinking";
    return turn;
  }

  /**
   * @param {Record<string, any>} event of the pipeline
   * @returns {object|null} the turn that has changed
   */
  apply(event) {
    if (event.session) this.session = event.session;
    const handler = HANDLERS[event.type];
    if (!handler || (event.type === "warning" && !this._byNumber.has(event.turn))) return null;
    const turn = this._turn(event);
    handler(turn, event, this);
    return turn;
  }

  /** How long it took to answer, in ms, of each turn that was answered. */
  answers() {
    return this.turns
      .map(({ timings, ended }) => (ended && timings.audible_s != null && timings.speech_end_s != null ? (timings.audible_s - timings.speech_end_s) * 1000 : null))
      .filter((ms) => ms != null);
  }

  _turn(event) {
    if (!event.turn) {
      if (!this._aside || (this._aside.ended && event.type !== "interrupted")) this._aside = this._add(newTurn(0));
      return this._aside;
    }
    let turn = this._byNumber.get(event.turn);
    if (!turn) {
      // A typed question is answered in a turn of its own number.
      const typed = this._aside;
      if (typed?.typed && !typed.ended && event.type !== "speech_started") {
        turn = typed;
        turn.number = event.turn;
        this._aside = null;
      } else {
        turn = this._add(newTurn(event.turn));
      }
      this._byNumber.set(event.turn, turn);
    }
    return turn;
  }

  _add(turn) {
    turn.seam = this._seam;
    this._seam = "";
    this.turns.push(turn);
    if (this.turns.length > MAX_TURNS) this._byNumber.delete(this.turns.shift().number);
    return turn;
  }
}

function takeBack(turn) {
  turn.written = turn.spoken = turn.unheard = "";
  turn.heard = null;
  for (const key of ["commit_s", "stt_s", "first_token_s", "audible_s"]) delete turn.timings[key];
}

const HANDLERS = {
  speech_started(turn, event, conversation) {
    turn.status = turn.status === "open" ? "hearing" : turn.status;
    if (conversation.phase !== "speaking") conversation.phase = "hearing";
  },
  speech_stopped(turn, event) {
    turn.timings.speech_end_s = event.t_s - (event.audio_s - event.at_s);
    turn.timings.vad_stop_s = event.t_s;
  },
  transcript(turn, event) {
    if (event.role === "user") {
      if (event.text || event.final) turn.user = event.text;
      turn.userFinal = event.final;
      if (event.final && turn.timings.speech_end_s != null) turn.timings.stt_s ??= event.t_s;
    } else if (event.final && turn.heard === null) {
      turn.written = longer(turn.written, event.text);
    }
  },
  speculated(turn) {
    turn.speculated = true;
  },
  committed(turn, event, conversation) {
    turn.timings.commit_s = event.t_s;
    turn.reason = event.reason;
    turn.status = "thinking";
    conversation.phase = "thinking";
  },
  dropped(turn, event, conversation) {
    if (event.reason === "resumed" || event.reason === "reopened") {
      takeBack(turn);
      turn.userFinal = false;
      turn.status = "hearing";
      conversation.phase = "hearing";
    } else if (event.reason !== "refused") {
      turn.reason = event.reason;
    }
  },
  text_delta(turn, event) {
    turn.timings.first_token_s ??= event.t_s;
    turn.written += event.text;
    if (!turn.ended && turn.status === "open") turn.status = "thinking";
  },
  spoken(turn, event) {
    if (event.filler) {
      turn.fillers.push(event.text);
      return;
    }
    turn.spoken += event.text;
    if (!turn.written.startsWith(turn.spoken) && turn.spoken.length > turn.written.length) turn.written = turn.spoken;
  },
  tool_call(turn, event) {
    turn.calls.push({ id: event.call_id, name: event.name, arguments: event.arguments, output: null });
  },
  tool_result(turn, event) {
    const call = turn.calls.find((one) => one.id === event.call_id && one.output === null);
    if (call) call.output = event.output;
    else turn.calls.push({ id: event.call_id, name: event.name, arguments: "", output: event.output });
  },
  audio_started(turn, event, conversation) {
    turn.timings.audible_s ??= event.t_s;
    if (!turn.ended) turn.status = "speaking";
    conversation.phase = "speaking";
  },
  playback_paused(turn) {
    turn.paused = true;
  },
  playback_resumed(turn) {
    turn.paused = false;
  },
  interrupted(turn, event, conversation) {
    if (turn.heard === null) conversation.interruptions += 1;
    turn.heard = event.heard;
    turn.unheard = event.unheard;
    turn.paused = false;
    if (conversation.phase === "speaking") conversation.phase = "hearing";
  },
  policy(turn, event) {
    if (event.decision !== "allow" && !event.approval_id && event.decision !== "ask") {
      turn.checks.push({ gate: event.gate, check: event.check, decision: event.decision, reason: event.reason, tool: event.tool });
    }
  },
  approval(turn, event, conversation) {
    const known = turn.approvals.find((one) => one.id === event.approval_id);
    const told = { id: event.approval_id, state: event.state, question: event.question, tool: event.tool, arguments: event.arguments, by: event.by };
    if (known) Object.assign(known, { ...told, question: told.question || known.question });
    else turn.approvals.push(told);
    conversation.phase = event.state === "pending" ? "asking" : "thinking";
  },
  error(turn, event) {
    turn.errors.push(`${event.stage}: ${event.message}`);
  },
  warning(turn, event) {
    if (!turn.warnings.includes(event.message)) turn.warnings = [...turn.warnings, event.message].slice(-MAX_NOTES);
  },
  turn_ended(turn, event, conversation) {
    turn.ended = true;
    turn.status = event.status;
    turn.paused = false;
    turn.timings = { ...event.timings };
    turn.exact = true;
    turn.speculation = event.speculation;
    turn.usage = event.usage ?? [];
    if (turn.heard === null && event.text) {
      turn.written = event.text;
      if (event.status === "completed") turn.spoken = event.text;
    }
    const busy = conversation.turns.some((one) => one !== turn && !one.ended && one.status !== "open");
    if (!busy) conversation.phase = "listening";
  },
};

const longer = (one, other) => (other.length > one.length ? other : one);

/**
 * The answer in pieces, each as one of `heard`, `coming` (written, not yet at the loudspeaker) and `unheard` (cut off).
 * @returns {{text: string, kind: string}[]}
 */
export function answerPieces(turn) {
  if (turn.heard !== null) {
    return [
      { text: turn.heard, kind: "heard" },
      { text: turn.unheard, kind: "unheard" },
    ].filter((piece) => piece.text);
  }
  const spoken = turn.written.startsWith(turn.spoken) ? turn.spoken : turn.written.slice(0, turn.spoken.length);
  return [
    { text: spoken, kind: "heard" },
    { text: turn.written.slice(spoken.length), kind: turn.ended && !["broken", "unfinished"].includes(turn.status) ? "heard" : "coming" },
  ].filter((piece) => piece.text);
}
