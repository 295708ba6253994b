// The newest frame of this server in a canvas. The server sends the next one only after the last has
// been drawn and acknowledged, so a slow page skips frames and never falls behind.

const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 5000;
const SILENCE_MS = 10000; // the server repeats the frame every two seconds, so silence means a dead connection

export const socketUrl = (path, query = "") =>
  `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}${query ? `?${query}` : ""}`;

/** Open a socket again and again, waiting longer after each failure. `make` opens one; returns `stop`. */
export function keepConnected(make) {
  let failures = 0, timer = 0, socket = null, stopped = false;
  const open = () => {
    socket = make({ onGood: () => { failures = 0; } });
    socket.addEventListener("close", () => {
      if (stopped) return;
      const wait = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** failures++);
      timer = setTimeout(open, wait * (0.75 + Math.random() / 2)); // not all pages at the same moment
    });
  };
  open();
  return () => {
    stopped = true;
    clearTimeout(timer);
    socket.close();
  };
}

/** Draw frames into `canvas` for ever. `query()` gives size, fps and fit; returns a function that stops. */
export function watchFrames(canvas, query, { onFrame = () => {}, onLink = () => {} } = {}) {
  const paper = canvas.getContext("2d");
  return keepConnected(({ onGood }) => {
    const socket = new WebSocket(socketUrl("/ws/frames", query()));
    socket.binaryType = "arraybuffer";
    let last = Promise.resolve(), silence = 0;
    const listen = () => {
      clearTimeout(silence);
      silence = setTimeout(() => socket.close(), SILENCE_MS);
    };
    socket.onmessage = ({ data }) => {
      listen();
      onGood();
      last = last.then(() => draw(paper, data)).then(onFrame, () => {}).then(() => {
        if (socket.readyState === WebSocket.OPEN) socket.send("taken");
      });
    };
    socket.onopen = () => onLink(true);
    socket.onclose = ({ code, reason }) => {
      clearTimeout(silence);
      onLink(false, code, reason);
    };
    return socket;
  });
}

/** Draw one message: number and length (32 bits each), a JPEG, and a PNG mask where there is alpha. */
async function draw(paper, data) {
  const length = new DataView(data).getUint32(4);
  const picture = await decode(data, 8, length, "image/jpeg");
  const mask = data.byteLength > 8 + length ? await decode(data, 8 + length, undefined, "image/png") : null;
  const { canvas } = paper;
  if (canvas.width !== picture.width || canvas.height !== picture.height) {
    canvas.width = picture.width;
    canvas.height = picture.height;
  }
  paper.globalCompositeOperation = "copy";
  paper.drawImage(picture, 0, 0);
  if (mask) {
    paper.globalCompositeOperation = "destination-in"; // keep the picture where the mask is opaque
    paper.drawImage(mask, 0, 0);
  }
  picture.close();
  mask?.close();
}

const decode = (data, start, length, type) =>
  createImageBitmap(new Blob([new Uint8Array(data, start, length)], { type }));
