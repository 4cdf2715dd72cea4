// A microphone that never stops: recordings when they are asked for, and silence between them.
import { readFileSync } from 'node:fs';

const CHUNK = 960; // 20 ms of mono PCM16 at 24 kHz

// folder holds time.wav, story.wav, ...
export function microphone(session, folder) {
  const queue = [];
  const began = Date.now();
  let sent = 0;
  const beat = setInterval(() => {
    while (sent * 20 <= Date.now() - began) {
      const piece = queue.shift() ?? Buffer.alloc(CHUNK);
      session.sendAudio(piece.buffer.slice(piece.byteOffset, piece.byteOffset + CHUNK));
      sent += 1;
    }
  }, 20);
  return {
    say(name) {
      const pcm = readFileSync(`${folder}/${name}.wav`).subarray(44);
      for (let at = 0; at + CHUNK <= pcm.length; at += CHUNK) queue.push(pcm.subarray(at, at + CHUNK));
    },
    stop: () => clearInterval(beat),
  };
}
