// The overlay: nothing but the newest frame, on a transparent ground.
import { watchFrames } from "/frames.js";

const asked = new URLSearchParams(location.search);
const query = new URLSearchParams();
for (const name of ["size", "fps", "fit", "token"]) {
  if (asked.has(name)) query.set(name, asked.get(name));
}
document.documentElement.className = asked.get("fit") ?? "contain";

const canvas = document.getElementById("picture");
const HOLD_MS = 3000; // a picture that stands still for longer than that looks broken on the air
let gone = 0;

watchFrames(canvas, () => query, {
  onFrame: () => clearTimeout(gone),
  onLink: (up) => {
    clearTimeout(gone);
    if (!up) {
      gone = setTimeout(() => canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height), HOLD_MS);
    }
  },
});
