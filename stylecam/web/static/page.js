// The control page: the settings on one side, the run's state and picture on the other.
import { keepConnected, socketUrl, watchFrames } from "/frames.js";
import { offerCamera } from "/camera.js";
import { drawCourse } from "/charts.js";

const $ = (id) => document.getElementById(id);
const token = new URLSearchParams(location.search).get("token");
if (token) history.replaceState(null, "", location.pathname); // the cookie has it; nobody need read it here

const STEP = 0.1; // of strength, by key
const MINUTE = 60;
const FIRST_PREVIEW_MS = 2000;
const PREVIEW_MS = 20000;

/** What the server said last, and on top of it what this page has changed and not yet heard back. */
const page = { state: null, settings: {}, asked: {}, sent: {}, course: [], online: false, ended: false, recordedSince: 0 };

// ---- changing settings: at most one request under way, the newest value of each setting in the next

function change(changes) {
  if (!page.state) return;
  Object.assign(page.asked, changes);
  Object.assign(page.settings, changes);
  showSettings();
  sendChanges();
}

async function sendChanges() {
  if (Object.keys(page.sent).length || !Object.keys(page.asked).length) return;
  [page.sent, page.asked] = [page.asked, {}];
  const answer = await call("/api/state", "PATCH", page.sent);
  page.sent = {};
  takeState(answer ?? page.state);
  sendChanges();
}

async function call(path, method, body) {
  try {
    const response = await fetch(path, {
      method,
      headers: body ? { "Content-Type": "application/json" } : {},
      body: body ? JSON.stringify(body) : undefined,
    });
    const answer = await response.json();
    if (response.ok) return answer;
    toast(`${answer.message}: ${answer.hint}`, true);
  } catch {
    toast("stylecam does not answer", true);
  }
  return null;
}

function takeState(state) {
  page.state = { ...page.state, ...state };
  page.settings = { ...state.settings, ...page.sent, ...page.asked };
  showSettings();
}

// ---- mixes: "starry:0.6,wave:0.4"

function readMix(text) {
  const shares = new Map();
  for (const part of text.split(",")) {
    const [name, share = "1"] = part.trim().split(":");
    shares.set(name, Number(share));
  }
  const total = [...shares.values()].reduce((sum, share) => sum + share, 0);
  return new Map([...shares].map(([name, share]) => [name, share / total]));
}

function writeMix(shares) {
  const used = [...shares].filter(([, share]) => share > 0);
  if (used.length === 1) return used[0][0];
  return used.map(([name, share]) => `${name}:${Number(share.toFixed(2))}`).join(",");
}

/** Return the mix in which `name` has that share and the others keep their proportions. */
function withShare(shares, name, share) {
  const others = [...shares].filter(([other, part]) => other !== name && part > 0);
  const rest = others.reduce((sum, [, part]) => sum + part, 0);
  if (!rest) return new Map([[name, 1]]);
  return new Map([...others.map(([other, part]) => [other, (part / rest) * (1 - share)]), [name, share]]);
}

// ---- showing settings

const sliders = {
  strength: (value) => `${Math.round(value * 100)} %`,
  smooth: (value) => `${Math.round(value * 100)} %`,
  fade_s: (value) => `${value.toFixed(1)} s`,
};

function setSlider(input, value) {
  if (document.activeElement !== input || Number(input.value) !== value) input.value = value;
  input.style.setProperty("--part", `${((value - input.min) / (input.max - input.min)) * 100}%`);
}

function showSettings() {
  const { settings, state } = page;
  for (const [name, write] of Object.entries(sliders)) {
    setSlider($(name), settings[name]);
    $(`${name}-value`).textContent = write(settings[name]);
  }
  for (const button of document.querySelectorAll("[data-switch]")) press(button, settings[button.dataset.switch]);
  press($("pause"), settings.paused);
  press($("record"), settings.recording);
  $("record").querySelector("span").textContent = settings.recording ? "Stop recording" : "Record";
  $("paused").hidden = !settings.paused;
  $("keep").hidden = !state.has_mask;
  for (const radio of document.querySelectorAll("[name=keep]")) radio.checked = radio.value === settings.keep;
  const recordedMs = 1000 * (state.stats?.recording_s ?? 0); // by another page, or before this one was loaded
  page.recordedSince = settings.recording ? page.recordedSince || Date.now() - recordedMs : 0;
  showRecording();
  showStyles();
}

const press = (button, on) => button.setAttribute("aria-pressed", String(Boolean(on)));

function showRecording() {
  $("rec").hidden = !page.recordedSince;
  const seconds = Math.floor((Date.now() - page.recordedSince) / 1000);
  $("rec").textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

function showStyles() {
  const shares = readMix(page.settings.style);
  for (const tile of $("tiles").children) {
    const share = shares.get(tile.dataset.style) ?? 0;
    if (share === 1 && tile.ariaPressed !== "true") bringIntoView(tile);
    press(tile, share > 0);
    if (share > 0 && shares.size > 1) tile.dataset.share = `${Math.round(share * 100)} %`;
    else delete tile.dataset.share;
  }
  for (const input of $("mixer").querySelectorAll("input")) {
    const share = Math.round((shares.get(input.dataset.style) ?? 0) * 100);
    if (document.activeElement !== input) setSlider(input, share);
    input.closest("label").querySelector("output").textContent = `${share} %`;
  }
}

/** Scroll the strip, and only the strip: scrollIntoView would move the page as well. */
function bringIntoView(tile) {
  const strip = $("tiles");
  const left = tile.offsetLeft - strip.offsetLeft;
  if (left < strip.scrollLeft || left + tile.offsetWidth > strip.scrollLeft + strip.clientWidth) {
    strip.scrollTo({ left: left - (strip.clientWidth - tile.offsetWidth) / 2, behavior: "smooth" });
  }
}

function makeStyles() {
  const { styles } = page.state;
  if ([...$("tiles").children].map((tile) => tile.dataset.style).join() === styles.join()) return;
  $("tiles").replaceChildren(...styles.map(makeTile));
  $("mixer").replaceChildren(...styles.map(makeShare));
}

function makeTile(name, index) {
  const tile = document.createElement("button");
  tile.type = "button";
  tile.className = "tile";
  tile.dataset.style = name;
  const picture = document.createElement("img");
  picture.alt = "";
  picture.src = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==";
  const label = document.createElement("span");
  label.textContent = name;
  tile.append(picture, label);
  if (index < 9) {
    const key = document.createElement("kbd");
    key.textContent = index + 1;
    tile.append(key);
  }
  tile.onclick = () => change({ style: name });
  return tile;
}

function makeShare(name) {
  const label = document.createElement("label");
  label.className = "slider";
  const title = document.createElement("span");
  title.textContent = name;
  const input = document.createElement("input");
  Object.assign(input, { type: "range", min: 0, max: 100, step: 1, id: `share-${name}` });
  label.htmlFor = input.id; // by itself it would name the output, which comes first
  input.dataset.style = name;
  let before = null; // the mix as it was when the finger came down, so that 100 % and back loses nothing
  input.oninput = () => {
    before ??= readMix(page.settings.style);
    change({ style: writeMix(withShare(before, name, input.value / 100)) });
    if (before.size === 1 && before.has(name)) input.value = 100; // alone it has nobody to share with
    setSlider(input, Number(input.value));
  };
  input.onchange = () => {
    before = null;
    showStyles();
  };
  label.append(title, document.createElement("output"), input);
  return label;
}

// ---- the run's figures

function showStats(stats) {
  const latency = stats.latency_ms ?? {};
  page.course.push({ fps: stats.fps, p50: latency.p50, p95: latency.p95 });
  page.course.splice(0, page.course.length - MINUTE);
  $("fps-now").textContent = fixed(stats.fps, 1);
  $("fps-aim").textContent = stats.target_fps ? `of ${fixed(stats.target_fps, 0)}` : "";
  $("latency-now").textContent = fixed(latency.p50, 0);
  $("latency-p95").textContent = `p95 ${fixed(latency.p95, 0)}`;
  $("badge").hidden = !page.settings.figures || !stats.frames;
  $("badge").textContent = `${fixed(stats.fps, 1)} fps · ${fixed(latency.p50, 0)} ms`;
  drawCharts();
  showFacts(stats);
  list($("sinks"), stats.sinks ?? [], sinkLine);
  list($("messages"), (stats.messages ?? []).slice(-3), (text) => element("li", text));
  tellNews(stats.messages ?? []);
  const delayMs = (stats.sinks ?? []).find(({ name }) => name === "web")?.audio_delay_ms ?? stats.audio_delay_ms;
  $("obs-delay").hidden = !delayMs;
  $("delay").textContent = `${fixed(delayMs, 0)} ms`;
  $("obs-size").textContent = stats.size_wh ? `, ${size(stats.size_wh)} pixels` : "";
}

function drawCharts() {
  const aim = page.state.stats?.target_fps;
  drawCourse($("fps-chart"), MINUTE, [{ values: page.course.map((each) => each.fps), colour: "#ffb454", fill: true }], aim);
  drawCourse($("latency-chart"), MINUTE, [
    { values: page.course.map((each) => each.p95), colour: "#58b7ff66" },
    { values: page.course.map((each) => each.p50), colour: "#58b7ff", fill: true },
  ]);
}

function showFacts(stats) {
  const facts = {
    picture: stats.size_wh && size(stats.size_wh),
    net: stats.net_size_wh && `${stats.net ?? ""} ${size(stats.net_size_wh)}`.trim(),
    "runs on": [stats.engine, stats.device, stats.precision].filter(Boolean).join(", "),
    dropped: stats.captured ? `${stats.dropped} of ${stats.captured} (${Math.round((100 * stats.dropped) / stats.captured)} %)` : "",
    governor: stats.governor,
  };
  const rows = Object.entries(facts).filter(([, text]) => text);
  $("facts").replaceChildren(...rows.flatMap(([name, text]) => [element("dt", name), element("dd", text)]));
}

function sinkLine(sink) {
  const line = element("li", "");
  const lost = sink.dropped ? `, ${sink.dropped} dropped` : "";
  const late = sink.frames ? `, ${fixed(sink.latency_ms?.p50, 0)} ms, p95 ${fixed(sink.latency_ms?.p95, 0)}` : "";
  line.append(element("span", sink.name), element("span", `${sink.frames} frames${lost}${late}`));
  if (sink.error) {
    line.className = "bad";
    line.append(element("em", sink.error));
  }
  return line;
}

const fixed = (value, digits) => (Number.isFinite(value) ? value.toFixed(digits) : "–");
const size = ([width, height]) => `${width}×${height}`;
const list = (parent, items, make) => parent.replaceChildren(...items.map(make));

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

let told = null;
function tellNews(messages) {
  const newest = messages.at(-1) ?? "";
  if (told !== null && newest && newest !== told) toast(newest);
  told = newest;
}

let toastTimer = 0;
function toast(text, bad = false) {
  $("toast").textContent = text;
  $("toast").className = `toast shown${bad ? " bad" : ""}`;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => $("toast").classList.remove("shown"), bad ? 6000 : 3000);
}

// ---- the connection

function showLink(online) {
  page.online = online;
  document.body.classList.toggle("offline", !online);
  page.ended = page.ended && !online;
  $("link").textContent = online ? "live" : page.ended ? "ended" : "connection lost, trying again";
}

keepConnected(({ onGood }) => {
  const socket = new WebSocket(socketUrl("/ws/state"));
  let silence = 0;
  socket.onmessage = ({ data }) => {
    clearTimeout(silence);
    silence = setTimeout(() => socket.close(), 5000); // it speaks every second
    onGood();
    const state = JSON.parse(data);
    const tick = state.version === page.state?.version || !page.state;
    page.state = { ...state };
    makeStyles();
    takeState(state);
    if (tick) showStats(state.stats);
    $("overlay").value = location.origin + state.overlay;
    camera.offer(state.browser);
    if (!page.online) showLink(true);
  };
  socket.onclose = () => {
    clearTimeout(silence);
    showLink(false);
  };
  return socket;
});

const camera = offerCamera({
  box: $("camera"), note: $("camera-note"), start: $("camera-start"), turn: $("camera-turn"), stop: $("camera-stop"),
});

/** Ask for no more pixels than are shown. */
function frameQuery() {
  const dots = Math.min(window.devicePixelRatio, 2);
  const step = (side) => Math.min(3840, Math.max(160, Math.ceil((side * dots) / 160) * 160));
  return new URLSearchParams({ size: `${step($("stage").clientWidth)}x${step($("stage").clientHeight)}` });
}

let stopFrames = () => {};
function showFrames() {
  stopFrames();
  stopFrames = () => {};
  if (document.hidden) return; // nobody looks: let the server rest
  stopFrames = watchFrames($("picture"), frameQuery, {
    onFrame: () => {
      $("waiting").hidden = true;
      $("stage").style.setProperty("--shape", `${$("picture").width} / ${$("picture").height}`);
    },
  });
}
document.addEventListener("visibilitychange", showFrames);
document.addEventListener("fullscreenchange", showFrames);
window.addEventListener("resize", () => page.state && drawCharts());
showFrames();
setInterval(showRecording, 1000);

// ---- thumbnails of one's own camera in each style

async function loadPreview(picture, path) {
  const response = await fetch(path);
  if (!response.ok) return;
  const before = picture.src;
  picture.src = URL.createObjectURL(await response.blob());
  if (before.startsWith("blob:")) URL.revokeObjectURL(before);
}

async function loadPreviews() {
  let waitMs = FIRST_PREVIEW_MS;
  try {
    if (page.online && !document.hidden) {
      const styles = await (await fetch("/api/styles")).json();
      for (const { name, preview } of styles.filter((style) => style.ready)) {
        const tile = [...$("tiles").children].find((each) => each.dataset.style === name);
        if (tile) await loadPreview(tile.querySelector("img"), preview);
      }
      if (styles.every((style) => style.ready)) waitMs = PREVIEW_MS;
    }
  } catch { /* the link's own sign tells that the server is gone */ }
  setTimeout(loadPreviews, waitMs);
}
setTimeout(loadPreviews, 300);

// ---- what buttons and keys do

const flip = (name) => change({ [name]: !page.settings[name] });

function stepStyle(step) {
  const { styles } = page.state;
  const here = styles.indexOf(page.settings.style);
  change({ style: styles.at(((here < 0 ? (step > 0 ? -1 : 0) : here) + step) % styles.length) });
}

function stepStrength(step) {
  change({ strength: Math.min(1, Math.max(0, Number((page.settings.strength + step).toFixed(2)))) });
}

function stepKeep() {
  const { keeps, has_mask: hasMask } = page.state;
  if (!hasMask) return toast("No mask: start with --mask or --keep", true);
  return change({ keep: keeps[(keeps.indexOf(page.settings.keep) + 1) % keeps.length] });
}

async function takeSnapshot() {
  if (await call("/api/snapshot", "POST")) toast("Snapshot taken");
}

async function endRun() {
  page.ended = page.online; // the connection may close before the answer is here
  if (await call("/api/quit", "POST")) page.ended = true;
  else if (page.online) page.ended = false;
  if (page.ended) $("camera-stop").click(); // its light would stay on
}

const keys = {
  c: () => flip("color"), m: () => flip("mirror"), s: () => flip("split"), f: () => flip("figures"),
  r: () => flip("recording"), " ": () => flip("paused"), p: takeSnapshot, b: stepKeep,
  h: () => $("help").showModal(), q: () => $("end").showModal(),
  ArrowLeft: () => stepStyle(-1), ArrowRight: () => stepStyle(1),
  ArrowUp: () => stepStrength(STEP), ArrowDown: () => stepStrength(-STEP),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !page.state || document.querySelector("dialog[open]")) return;
  const own = event.target.closest("input, textarea, select"); // arrows belong to the slider they are in
  if (own && (own.type === "text" || event.key.startsWith("Arrow") || event.key === " ")) return;
  if (event.key === " " && event.target.closest("button, a")) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const style = /^[1-9]$/.test(key) ? page.state.styles[key - 1] : undefined;
  if (!style && !keys[key]) return;
  event.preventDefault();
  if (style) change({ style });
  else keys[key]();
});

for (const name of Object.keys(sliders)) $(name).oninput = () => change({ [name]: Number($(name).value) });
for (const button of document.querySelectorAll("[data-switch]")) button.onclick = () => flip(button.dataset.switch);
for (const radio of document.querySelectorAll("[name=keep]")) radio.onchange = () => change({ keep: radio.value });
$("record").onclick = () => flip("recording");
$("pause").onclick = () => flip("paused");
$("snapshot").onclick = takeSnapshot;
$("end-open").onclick = () => $("end").showModal();
$("end").onclose = () => {
  if ($("end").returnValue === "end") endRun();
  $("end").returnValue = "";
};
$("help-open").onclick = () => $("help").showModal();
$("full").hidden = !$("stage").requestFullscreen;
$("full").onclick = () => $("stage").requestFullscreen();
$("mix-open").onclick = () => {
  $("mixer").hidden = !$("mixer").hidden;
  $("mix-open").setAttribute("aria-expanded", String(!$("mixer").hidden));
  $("mix-open").textContent = $("mixer").hidden ? "Mix" : "Close the mixer";
};
$("overlay").onfocus = () => $("overlay").select();
$("overlay-copy").onclick = async () => {
  try {
    await navigator.clipboard.writeText($("overlay").value);
  } catch { // a page that did not come by https has no clipboard
    $("overlay").select();
    document.execCommand("copy");
  }
  toast("Copied");
};
