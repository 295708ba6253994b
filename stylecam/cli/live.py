"""Stylize a camera as it happens."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stylecam.arguments import (
    AtEnd,
    Backend,
    DebugFlag,
    Device,
    DeviceOption,
    EngineOption,
    JsonFlag,
    Keep,
    NetKind,
    NetOption,
    Precision,
    PrecisionOption,
    SizeOption,
    SmoothOption,
    StreamSound,
    StyleName,
    parse_size,
)
from stylecam.cli.program import check_not_same, chosen_smoothing, command_that_ends, load
from stylecam.console import print_json, progress, say
from stylecam.interrupt import check_interrupt, held_interrupt, interruptible, was_interrupted

if TYPE_CHECKING:
    from stylecam.controls import Settings
    from stylecam.live.painter import Mask
    from stylecam.live.run import LiveRun
    from stylecam.sinks import LiveLinks, Sink
    from stylecam.sinks.microphone import Microphone
    from stylecam.sources import Source

BROWSER = "browser"
PICTURE, CAMERA, PAGE = "The picture", "The camera", "The page and the streams"

_NOTHING = {"frames": 0, "fps": 0.0, "wall_s": 0.0, "captured": 0, "dropped": 0, "sinks": [], "output": []}
"""The figures of a run that was broken off before it began."""


@command_that_ends
def live(
    style: StyleName = "starry",
    source: Annotated[
        str,
        typer.Option(help="A camera's number or name, a film, a URL, browser (the page's), or demo."),
    ] = "0",
    sink: Annotated[
        list[str] | None,
        typer.Option(
            help="window, web, virtualcam, null, a film (.mp4 .mov .mkv), rtmp:// srt:// udp://; repeatable. "
            "#size=WxH,fps=N,bitrate=N behind it is for it alone; else --fps or the source's rate holds."
        ),
    ] = None,
    size: SizeOption = None,
    fps: Annotated[
        str | None,
        typer.Option(metavar="N|source", help="Hold this rate: work at smaller sizes where it must be."),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0, help="Stop so many seconds after the first frame.")
    ] = None,
    at_end: Annotated[
        AtEnd, typer.Option(help="A lost or ended source: wait for it, or end. auto: a film ends.")
    ] = AtEnd.auto,
    strength: Annotated[
        float,
        typer.Option(min=0, max=1, help="How much of it is painting.", rich_help_panel=PICTURE),
    ] = 1.0,
    smooth: SmoothOption = None,
    fade: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=0, max=5, help="Between two styles.", rich_help_panel=PICTURE),
    ] = 0.5,
    keep_color: Annotated[
        bool,
        typer.Option("--keep-color", help="In the camera's colours.", rich_help_panel=PICTURE),
    ] = False,
    split: Annotated[
        bool, typer.Option("--split", help="The original in the left half.", rich_help_panel=PICTURE)
    ] = False,
    mirror: Annotated[
        bool | None,
        typer.Option("--mirror/--no-mirror", help="As in a mirror; so for cameras.", rich_help_panel=PICTURE),
    ] = None,
    keep: Annotated[
        Keep, typer.Option(help="What is painted; the rest stays as it is.", rich_help_panel=PICTURE)
    ] = Keep.all,
    mask: Annotated[
        Path | None,
        typer.Option(help="A picture, white where the person is.", rich_help_panel=PICTURE),
    ] = None,
    camera_size: Annotated[
        str | None,
        typer.Option(metavar="WxH", help="Else --size is asked.", rich_help_panel=CAMERA),
    ] = None,
    camera_fps: Annotated[
        float | None, typer.Option(min=1, help="Ask for it.", rich_help_panel=CAMERA)
    ] = None,
    camera_format: Annotated[
        str | None, typer.Option(metavar="FOURCC", help="Ask for it, e.g. MJPG.", rich_help_panel=CAMERA)
    ] = None,
    host: Annotated[str, typer.Option(help="Where the page listens.", rich_help_panel=PAGE)] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="0: any that is free.", rich_help_panel=PAGE)
    ] = 8423,
    token: Annotated[
        str | None, typer.Option(help="What the page asks for beyond this machine.", rich_help_panel=PAGE)
    ] = None,
    sound: Annotated[
        StreamSound, typer.Option(help="What streams carry; mic: recordings too.", rich_help_panel=PAGE)
    ] = StreamSound.silent,
    folder: Annotated[Path, typer.Option(help="Where snapshots and recordings go.")] = Path(),
    net: NetOption = NetKind.auto,
    engine: EngineOption = Backend.auto,
    device: DeviceOption = Device.auto,
    precision: PrecisionOption = Precision.auto,
    json: JsonFlag = False,
    debug: DebugFlag = False,
) -> None:
    """Stylize a camera (or a film played like one) as it happens. Press h in the window for its keys."""
    given, run = dict(locals()), None
    try:
        with ExitStack() as stack:
            run = _try_to_open(stack, given)
            if run is not None:
                _follow(run, stack)
    finally:
        if run is not None:
            say(f"{run.painter.meter.frames} frames, {figures_of(run)}")
        if json and (run is not None or was_interrupted()):
            print_json(_NOTHING if run is None else _json_of(run))


def _try_to_open(stack: ExitStack, given: dict[str, Any]) -> LiveRun | None:
    """Open the run; None where Ctrl-C broke that off, whatever error a library made of it."""
    try:
        with interruptible():
            return _open_run(stack, given)
    except (Exception, KeyboardInterrupt):
        if not was_interrupted():
            raise
        return None


def _follow(run: LiveRun, stack: ExitStack) -> None:
    """Go through a run until it or somebody ends it."""
    move = stack.enter_context(progress("live", None))
    with closing(run.steps()) as steps:
        for _ in steps:
            if was_interrupted():
                break
            move(run.painter.meter.frames, figures_of(run))


def _open_run(stack: ExitStack, given: dict[str, Any]) -> LiveRun:
    """Open everything that the run needs, in `stack`, which closes it."""
    from stylecam.controls import Controls
    from stylecam.engines import open_engine
    from stylecam.errors import SinkOpenError
    from stylecam.live.governor import open_governor
    from stylecam.live.looks import Looks, kinds_of, names_for
    from stylecam.live.painter import Painter
    from stylecam.live.run import LiveRun, Messages
    from stylecam.sinks import SinkSpec, kind_of, open_live_sink

    names = given["sink"] or (["web"] if given["source"] == BROWSER else ["window"])
    specs = [SinkSpec.parse(text) for text in names]
    if given["source"] == BROWSER and "web" not in [kind_of(spec.name) for spec in specs]:
        specs.append(SinkSpec("web"))  # the page that the pictures come from
    kinds = [kind_of(spec.name) for spec in specs]
    if kinds.count("web") > 1:
        raise SinkOpenError("the page is asked for twice", "name web once; any number of people may open it")
    if given["sound"] is StreamSound.mic and not {"stream", "file", "window", "web"} & set(kinds):
        raise SinkOpenError(
            "--sound mic goes into streams and recordings, and no sink makes one", "add --sink take.mp4"
        )
    for spec, kind in zip(specs, kinds, strict=True):
        if kind == "file":
            check_not_same(Path(given["source"]), Path(spec.name))
    size_wh, messages = parse_size(given["size"]), Messages(say)
    smoothing = chosen_smoothing(given["smooth"])
    chosen = given["engine"], given["device"], given["precision"]
    first, opened = load(stack, given["style"], given["net"], *chosen)
    again = partial(open_engine, backend=chosen[0].value, device=chosen[1].value, precision=chosen[2].value)
    looks = stack.enter_context(closing(Looks(first, opened, again, names_for(first))))
    check_interrupt()  # a source may take its time
    camera = stack.enter_context(_open_source(given, size_wh, messages))
    size_wh = size_wh or camera.size_wh
    nets = kinds_of(given["style"]) if given["net"] is NetKind.auto else [first.net]
    governor = open_governor(given["fps"], camera.fps, size_wh, first.net, nets or [first.net])
    rate = governor.fps if governor else camera.fps
    mask = _open_mask(given)
    controls = Controls(_settings(given, first.name, smoothing), looks.names, has_mask=mask is not None)
    painter = Painter(looks, controls, say=messages, governor=governor, mask=mask, folder=given["folder"])
    run = LiveRun(
        camera, painter, messages=messages, size_wh=size_wh, seconds=given["seconds"],
        open_recording=lambda: _open_recording(given["folder"], links, rate),
    )  # fmt: skip
    links: LiveLinks = _links(run, given, camera, _open_microphone(stack, given))
    for spec in specs:
        # A recording's file is there before anybody could take it away again; others may take their time.
        with held_interrupt() if kind_of(spec.name) == "file" else nullcontext():
            opened_sink = stack.enter_context(open_live_sink(spec, links, fps=rate))
        # A stream's address holds its key, which belongs into no figures: its peer goes by another name.
        run.attach(getattr(opened_sink, "peer", spec.name), opened_sink, spec.size_wh, spec.fps)
        if kind_of(spec.name) == "web":
            _announce(opened_sink.url, given["host"])  # type: ignore[attr-defined]
    return run


def _open_source(
    given: dict[str, Any], size_wh: tuple[int, int] | None, say: Callable[[str], None]
) -> Source:
    """Open what frames come from, and again where it is to be waited for."""
    from stylecam.sources.live import open_live_source

    asked_wh = parse_size(given["camera_size"], "--camera-size") or size_wh
    return open_live_source(
        given["source"], size_wh=asked_wh, fps=given["camera_fps"],
        pixel_format=given["camera_format"], at_end=given["at_end"].value, say=say,
    )  # fmt: skip


def _open_microphone(stack: ExitStack, given: dict[str, Any]) -> Microphone | None:
    """Open it once, for all sinks: some systems let a program have it only once."""
    if given["sound"] is not StreamSound.mic:
        return None
    from stylecam.sinks.microphone import Microphone

    return stack.enter_context(closing(Microphone()))


def _open_mask(given: dict[str, Any]) -> Mask | None:
    if given["mask"] is None and given["keep"] is Keep.all:
        return None
    from stylecam.masks import FileMask, PersonMask

    return PersonMask() if given["mask"] is None else FileMask(given["mask"])


def _settings(given: dict[str, Any], style: str, smoothing: float) -> Settings:
    from stylecam.controls import Settings
    from stylecam.sources.live import is_camera

    mirror = is_camera(given["source"]) if given["mirror"] is None else given["mirror"]
    return Settings(
        style, strength=given["strength"], smooth=smoothing, fade_s=given["fade"], color=given["keep_color"],
        mirror=mirror, split=given["split"], keep=given["keep"].value,
    )  # fmt: skip


def _open_recording(folder: Path, links: LiveLinks, fps: float | None) -> tuple[str, Sink]:
    from stylecam.live.names import new_path
    from stylecam.sinks import SinkSpec, open_live_sink

    path = str(new_path(folder, ".mp4"))
    return path, open_live_sink(SinkSpec(path), links, fps=fps)


def _links(run: LiveRun, given: dict[str, Any], camera: Source, microphone: Microphone | None) -> LiveLinks:
    """Return what the sinks share with the run."""
    from stylecam.sinks import LiveLinks
    from stylecam.web.links import is_loopback, make_token

    page: dict[str, Any] = {name: given[name] for name in ("host", "port", "token")}
    if page["token"] is None and not is_loopback(page["host"]):
        page["token"] = make_token()
    if given["source"] == BROWSER:
        page["browser"] = camera
    return LiveLinks(
        run.painter.controls, run.stats, lambda: window_figures(run), run.painter.previews.get, run.messages,
        page, given["sound"].value, microphone,
    )  # fmt: skip


def _announce(url: str, host: str) -> None:
    """Tell where the page is; to other devices also by a code that a phone reads."""
    from stylecam.web.links import is_loopback, link_qr

    say(f"page: {url}")
    if not is_loopback(host):
        say(link_qr(url))


def figures_of(run: LiveRun) -> str:
    """Return the figures of the last second in a line, as the terminal shows them."""
    return ", ".join(window_figures(run).splitlines())


def window_figures(run: LiveRun) -> str:
    """Return the figures of the last second in two lines: what a viewer notices, and what is behind it."""
    meter, governor = run.latency(), run.painter.governor
    p50, p95 = meter.recent_latency_ms, meter.recent_p95_ms
    rate = f"{run.painter.meter.recent_fps:.1f} fps, {p50:.0f} ms (p95 {p95:.0f})"
    held = f", {governor.rung}" if governor else ""
    kept = f"{run.dropped} dropped, {run.painter.looks.now.style.name}{held}"
    return f"{rate}, audio delay {round(p50, -1):.0f} ms\n{kept}"


def _json_of(run: LiveRun) -> dict[str, Any]:
    stats, meter = run.stats(), run.painter.meter
    kept = ("captured", "dropped", "size_wh", "net_size_wh", "engine", "device", "precision", "style", "net")
    latency_ms = run.latency().percentiles("latency")
    return {
        "frames": meter.frames, "fps": round(meter.fps, 2), "wall_s": round(meter.wall_s, 3),
        **{name: stats[name] for name in kept}, "latency_ms": latency_ms,
        "net_ms": meter.percentiles("net"), "audio_delay_ms": round(latency_ms["p50"], -1),
        "sinks": stats["sinks"], "recordings": [outlet.figures() for outlet in run.recorded],
        "output": [outlet.name for outlet in (*run.outlets, *run.recorded)],
    }  # fmt: skip
