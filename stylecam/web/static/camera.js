// The visitor's own camera, sent picture by picture; each waits until the server has taken one before it.
import { keepConnected, socketUrl } from "/frames.js";

const MOST_UNDER_WAY = 2;
const QUALITY = 0.85;
const TAKEN_OVER = 4409;
const ABOUT = {
  NotAllowedError: "The browser was not allowed to use the camera. Allow it beside the address, then try again.",
  NotFoundError: "This device has no camera that the browser knows.",
  NotReadableError: "The camera is in use by another program.",
};
const INSECURE =
  "Browsers give their camera to this machine itself or to https only. Open the page as 127.0.0.1 through a tunnel " +
  "(ssh -L), or put an https server in front.";

/** Wire up the buttons; `offer(true)` shows them where the run wants a camera. */
export function offerCamera({ box, note, start, turn, stop }) {
  let wanted = false, stream = null, facing = "user", disconnect = () => {};
  const video = Object.assign(document.createElement("video"), { muted: true, playsInline: true });
  const show = () => {
    box.hidden = !wanted || Boolean(stream);
    turn.hidden = stop.hidden = !stream;
  };

  async function begin() {
    end();
    if (!navigator.mediaDevices) {
      note.textContent = INSECURE;
      return;
    }
    try {
      stream = await navigator.mediaDevices.getUserMedia({
        video: { facingMode: facing, width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } },
      });
    } catch (error) {
      note.textContent = ABOUT[error.name] ?? `The camera could not be opened: ${error.message}`;
      return;
    }
    stream.getVideoTracks()[0].onended = end;
    video.srcObject = stream;
    await video.play();
    disconnect = keepConnected(() => sendTo(video, takenOver));
    show();
  }

  function takenOver(reason) {
    end();
    note.textContent = `Stopped: ${reason}.`;
  }

  function end() {
    disconnect();
    disconnect = () => {};
    stream?.getTracks().forEach((track) => track.stop());
    stream = null;
    show();
  }

  start.onclick = begin;
  stop.onclick = end;
  turn.onclick = () => {
    facing = facing === "user" ? "environment" : "user";
    begin();
  };
  return {
    offer(wants) {
      wanted = wants;
      show();
    },
  };
}

/** Send the video's pictures through a new socket; returns it. */
function sendTo(video, takenOver) {
  const socket = new WebSocket(socketUrl("/ws/camera"));
  const canvas = document.createElement("canvas");
  let underWay = 0, stepMs = 0, dueMs = 0, timer = 0;

  async function send() {
    if (socket.readyState !== WebSocket.OPEN) return;
    const waitMs = dueMs - performance.now();
    if (underWay >= MOST_UNDER_WAY) return; // the next answer calls again
    if (waitMs > 1 || !video.videoWidth) {
      clearTimeout(timer);
      timer = setTimeout(send, Math.max(waitMs, 5));
      return;
    }
    underWay += 1;
    dueMs = Math.max(dueMs + stepMs, performance.now());
    cover(canvas, video);
    const jpeg = await new Promise((done) => canvas.toBlob(done, "image/jpeg", QUALITY));
    if (jpeg && socket.readyState === WebSocket.OPEN) socket.send(jpeg);
    else underWay -= 1;
    send();
  }

  socket.onmessage = ({ data }) => {
    const said = JSON.parse(data);
    if (said.size_wh) {
      [canvas.width, canvas.height] = said.size_wh;
      stepMs = 1000 / said.fps;
    } else {
      underWay -= 1;
    }
    send();
  };
  socket.onclose = ({ code, reason }) => {
    clearTimeout(timer);
    if (code === TAKEN_OVER) takenOver(reason);
  };
  return socket;
}

/** Draw the video so that it fills the canvas, cutting off evenly what stands out. */
function cover(canvas, video) {
  const scale = Math.max(canvas.width / video.videoWidth, canvas.height / video.videoHeight);
  const [width, height] = [video.videoWidth * scale, video.videoHeight * scale];
  const paper = canvas.getContext("2d");
  paper.drawImage(video, (canvas.width - width) / 2, (canvas.height - height) / 2, width, height);
}
