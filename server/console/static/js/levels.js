// How loud both sides are, from the audio itself.

const FLOOR_DB = -60;

/** Measures one stream; `level()` is 0 (below -60 dB) to 1 (full scale). */
export class Meter {
  constructor(context) {
    this._context = context;
    this._analyser = new AnalyserNode(context, { fftSize: 1024, smoothingTimeConstant: 0 });
    this._samples = new Float32Array(this._analyser.fftSize);
    this._source = null;
  }

  /** @param {MediaStream|null} stream null: nothing */
  listen(stream) {
    this._source?.disconnect();
    this._source = stream?.getAudioTracks().length ? this._context.createMediaStreamSource(stream) : null;
    this._source?.connect(this._analyser);
  }

  level() {
    if (!this._source || this._context.state !== "running") return 0;
    this._analyser.getFloatTimeDomainData(this._samples);
    let sum = 0;
    for (const sample of this._samples) sum += sample * sample;
    const db = 10 * Math.log10(sum / this._samples.length + 1e-12);
    return Math.min(1, Math.max(0, 1 - db / FLOOR_DB));
  }
}
