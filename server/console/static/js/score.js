// The score: both voices over the last seconds, one above the line, one below, and what happened where.

const WINDOW_S = 24;
const STEP_S = 0.06;
const PITCH_PX = 3;
const MARKS = 60;

/** Draws on a canvas. Feed it with `sample` and `mark`; `start` and `stop` the drawing. */
export class Score {
  constructor(canvas) {
    this._canvas = canvas;
    this._columns = [];
    this._marks = [];
    this._running = false;
    this._calm = matchMedia("(prefers-reduced-motion: reduce)");
  }

  /** @param {() => [number, number]} levels of the user and the assistant, 0 to 1 */
  start(levels) {
    this._levels = levels;
    if (this._running) return;
    this._running = true;
    this._sampled = performance.now() / 1000;
    const tick = () => {
      if (!this._running) return;
      this._take();
      if (!document.hidden && !(this._calm.matches && this._columns.length % 8)) this.draw();
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }

  stop() {
    this._running = false;
    this.draw();
  }

  /** Whether there is anything on it. */
  get drawn() {
    return this._columns.length > 0;
  }

  clear() {
    this._columns = [];
    this._marks = [];
    this.draw();
  }

  /** @param {"over"|"audible"|"cut"} kind */
  mark(kind) {
    this._marks = [...this._marks, { kind, at: performance.now() / 1000 }].slice(-MARKS);
  }

  _take() {
    const now = performance.now() / 1000;
    const [mine, theirs] = this._levels();
    this._mine = Math.max(this._mine ?? 0, mine);
    this._theirs = Math.max(this._theirs ?? 0, theirs);
    if (now - this._sampled < STEP_S) return;
    this._sampled = now;
    this._columns.push({ at: now, mine: this._mine, theirs: this._theirs });
    this._mine = this._theirs = 0;
    if (this._columns.length > WINDOW_S / STEP_S + 4) this._columns.shift();
  }

  draw() {
    const canvas = this._canvas;
    const { width, height } = canvas.getBoundingClientRect();
    if (!width) return;
    const ratio = devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    const style = getComputedStyle(canvas);
    const colour = (name) => style.getPropertyValue(`--${name}`);
    const middle = height / 2;
    const now = this._running ? performance.now() / 1000 : (this._columns.at(-1)?.at ?? 0);
    const x = (at) => width - ((now - at) / WINDOW_S) * width;
    const each = Math.max(1, Math.ceil((PITCH_PX * WINDOW_S) / (STEP_S * width))); // on a phone several columns are one
    const wide = Math.max(1.5, ((each * STEP_S) / WINDOW_S) * width - 1);

    pen.fillStyle = colour("line");
    pen.fillRect(0, middle - 0.5, width, 1);
    for (const { at, mine, theirs } of loudest(this._columns, each)) {
      pen.fillStyle = colour("you");
      if (mine > 0.02) bar(pen, x(at), middle - 2, -mine * (middle - 6), wide);
      pen.fillStyle = colour("them");
      if (theirs > 0.02) bar(pen, x(at), middle + 2, theirs * (middle - 6), wide);
    }
    for (const { kind, at } of this._marks) {
      const place = x(at);
      if (place < -4) continue;
      if (kind === "cut") {
        pen.fillStyle = colour("bad");
        pen.fillRect(place - 1, middle, 2, middle);
        pen.beginPath();
        pen.moveTo(place - 5, height);
        pen.lineTo(place + 5, height);
        pen.lineTo(place, height - 7);
        pen.fill();
      } else {
        pen.fillStyle = colour(kind === "over" ? "you" : "them");
        pen.fillRect(place - 0.75, kind === "over" ? 0 : middle, 1.5, middle);
        pen.beginPath();
        pen.arc(place, kind === "over" ? 3.5 : height - 3.5, 3.5, 0, 7);
        pen.fill();
      }
    }
  }
}

/** Of every so many columns the loudest; which belong together stays the same while they move. */
function loudest(columns, each) {
  if (each === 1) return columns;
  const found = new Map();
  for (const { at, mine, theirs } of columns) {
    const group = Math.floor(at / (each * STEP_S));
    const known = found.get(group) ?? { at: (group + 1) * each * STEP_S, mine: 0, theirs: 0 };
    found.set(group, { at: known.at, mine: Math.max(known.mine, mine), theirs: Math.max(known.theirs, theirs) });
  }
  return [...found.values()];
}

function bar(pen, x, y, length, wide) {
  pen.beginPath();
  pen.roundRect(x - wide, Math.min(y, y + length), wide, Math.max(1.5, Math.abs(length)), wide / 2);
  pen.fill();
}
