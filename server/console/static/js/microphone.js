// The microphone, or silence in its place: a conversation needs a track, and one that is typed has nothing to say.

const PROCESSING = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };

/** Why there is no microphone: `code` is "insecure", "denied", "none", "busy" or "failed". */
export class MicrophoneError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

const REASONS = {
  NotAllowedError: ["denied", "The browser was told not to give the microphone to this page. Allow it in the address bar, then try again."],
  SecurityError: ["denied", "The browser does not give the microphone to this page."],
  NotFoundError: ["none", "No microphone was found. Plug one in, or type instead."],
  OverconstrainedError: ["none", "The chosen microphone is gone. Choose another one."],
  NotReadableError: ["busy", "Another program holds the microphone. Close it there, then try again."],
};

export const available = () => Boolean(globalThis.isSecureContext && navigator.mediaDevices?.getUserMedia);

/**
 * @param {string} deviceId "" for the browser's own choice
 * @returns {Promise<MediaStream>}
 * @throws {MicrophoneError}
 */
export async function open(deviceId = "") {
  if (!available()) {
    throw new MicrophoneError("insecure", "Browsers give the microphone only to pages from https or from this machine. Type instead, or open the console over https.");
  }
  const audio = { ...PROCESSING, ...(deviceId ? { deviceId: { exact: deviceId } } : {}) };
  try {
    return await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    if (error.name === "OverconstrainedError" && deviceId) return open("");
    const [code, message] = REASONS[error.name] ?? ["failed", `The microphone cannot be used: ${error.message || error.name}`];
    throw new MicrophoneError(code, message);
  }
}

/** The microphones that can be chosen; their names are told only once one was allowed. */
export async function devices() {
  if (!navigator.mediaDevices?.enumerateDevices) return [];
  const all = await navigator.mediaDevices.enumerateDevices();
  return all
    .filter((device) => device.kind === "audioinput" && device.deviceId && device.deviceId !== "communications")
    .map((device, index) => ({ id: device.deviceId === "default" ? "" : device.deviceId, name: device.label || `Microphone ${index + 1}` }));
}

export function onChange(listener) {
  navigator.mediaDevices?.addEventListener?.("devicechange", listener);
  return () => navigator.mediaDevices?.removeEventListener?.("devicechange", listener);
}

/** A track on which nothing is ever heard. Something has to play into it: without, nothing is sent, and no time passes. */
export function silence(context) {
  const destination = context.createMediaStreamDestination();
  const nothing = new ConstantSourceNode(context, { offset: 0 });
  nothing.connect(destination);
  nothing.start();
  return destination.stream.getAudioTracks()[0];
}
