"""The live run: capture, painting and every sink beside each other."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Generator
from threading import Event, Thread
from typing import Any, Protocol

from stylecam.errors import SinkError, StylecamError
from stylecam.frames import Frame
from stylecam.live.outlet import Outlet
from stylecam.live.painter import Painter
from stylecam.meter import Meter
from stylecam.reader import FrameReader
from stylecam.sinks.base import Sink
from stylecam.sources.base import Source

_TICK_S = 0.05
_SLICE_S = 0.2
_MESSAGES = 20


class OpenRecording(Protocol):
    """How a recording is begun while the run goes on."""

    def __call__(self) -> tuple[str, Sink]:
        """Return its name and its sink, or raise SinkOpenError."""
        ...


class Messages:
    """Pass texts on to `say`, and remember the last few."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self.last: deque[str] = deque(maxlen=_MESSAGES)

    def __call__(self, text: str) -> None:
        self.last.append(text)
        self._say(text)


class LiveRun:
    """Paint what `source` gives and hand it to every sink attached, until something ends it.

    The source is read in one thread, painting is done in another, each outlet has its own (a window's is
    the caller's); each hands only its newest frame on, so memory is bounded and nobody waits for a
    slower one. Source, painter and sinks stay the caller's to close, recordings begun on the way do not.
    """

    def __init__(
        self,
        source: Source,
        painter: Painter,
        *,
        messages: Messages,
        size_wh: tuple[int, int] | None = None,
        seconds: float | None = None,
        open_recording: OpenRecording | None = None,
    ) -> None:
        self.source, self.painter = source, painter
        self.outlets: list[Outlet] = []
        self.messages = messages
        self.captured = self.dropped = 0
        self._size_wh, self._seconds = size_wh, seconds
        self._open_recording = open_recording
        self._recording: tuple[Outlet, Sink] | None = None
        self._recording_since_s = 0.0
        self.recorded: list[Outlet] = []
        self._changed = Event()
        self._error: BaseException | None = None
        self._ended = self._stop = False

    def attach(
        self, name: str, sink: Sink, size_wh: tuple[int, int] | None = None, fps: float | None = None
    ) -> Outlet:
        """Give a sink the frames from now on, at most `fps` a second, at its own size where one is given."""
        name = name.encode("utf-8", "replace").decode()  # JSON holds no file name that is not UTF-8
        outlet = Outlet(name, sink, self._changed.set, size_wh=size_wh, fps=fps)
        self.outlets.append(outlet)
        return outlet

    def steps(self) -> Generator[None, None, None]:
        """Run, yielding every now and then; closing the generator ends the run.

        Call from the main thread, where nothing must raise KeyboardInterrupt (`note_interrupts`): one that
        breaks off the closing leaves the painter inside the net while the process ends, which kills it.
        Raises what a thread raised, SinkError when no sink is left.
        """
        keep_s = self._seconds
        with FrameReader(self.source, "latest", size_wh=self._size_wh) as reader:
            thread = Thread(target=self._paint, args=(reader, keep_s), name="stylecam-painter", daemon=True)
            thread.start()
            try:
                while not self._is_over():
                    self._serve()
                    self._follow_recording()
                    yield
            finally:
                self._stop = True
                reader.close()
                while thread.is_alive():  # in slices: on Windows a plain join does not let Ctrl-C through
                    thread.join(_SLICE_S)
                self._finish()
        if self._error is not None:
            raise self._error

    def stats(self) -> dict[str, Any]:
        """Return how it goes, ready for JSON; from any thread."""
        meter, painter = self._slowest(), self.painter
        latency_ms = meter.recent_latency_ms
        look, governor = painter.looks.now, painter.governor
        return {
            "fps": round(painter.meter.recent_fps, 1),
            "latency_ms": {"p50": round(latency_ms, 1), "p95": round(meter.recent_p95_ms, 1)},
            "audio_delay_ms": round(latency_ms, -1),
            "frames": painter.meter.frames, "captured": self.captured, "dropped": self.dropped,
            "size_wh": self._size_wh or self.source.size_wh, "net_size_wh": painter.net_size_wh,
            "style": look.style.name, "net": look.style.net, "engine": look.engine.backend,
            "device": look.engine.device, "precision": look.engine.precision,
            "recording_s": round(time.monotonic() - self._recording_since_s, 1) if self._recording else None,
            "target_fps": governor.fps if governor else None,
            "governor": str(governor.rung) if governor else None,
            "sinks": [outlet.figures() for outlet in self.outlets],
            "messages": list(self.messages.last),
        }  # fmt: skip

    def latency(self) -> Meter:
        """Return the meter of the sink whose frames take longest: what a person sees is at most that old."""
        return self._slowest()

    def _slowest(self) -> Meter:
        meters = [outlet.meter for outlet in self.outlets if outlet.meter.frames]
        return max(meters, key=lambda meter: meter.recent_latency_ms, default=self.painter.meter)

    def _paint(self, reader: FrameReader, seconds: float | None) -> None:
        """Paint frame after frame; in the painter's thread."""
        limit = _Limit(seconds)
        try:
            while not self._stop:
                frame = self._next(reader)
                self._count(reader)
                if limit.is_reached(frame):
                    break
                if frame is None or self.painter.controls.settings.paused:
                    self.painter.keep_snapshots()
                else:
                    self._hand_out(self.painter.paint(frame))
                    self.painter.follow_up()
            self.painter.finish()
        except _Ended:
            self._count(reader)
            self.painter.finish()
        except BaseException as exc:  # raised again by `steps`: nobody looks at a thread
            self._error = exc
        self._ended = True
        self._changed.set()

    def _count(self, reader: FrameReader) -> None:
        """Take over the reader's counts, in this order: what is dropped in between was captured as well."""
        self.dropped = reader.dropped
        self.captured = reader.captured

    def _next(self, reader: FrameReader) -> Frame | None:
        try:
            frame = reader.read(_SLICE_S)
        except TimeoutError:
            return None
        if frame is None:
            raise _Ended
        return frame

    def _hand_out(self, frame: Frame) -> None:
        for outlet in tuple(self.outlets):
            outlet.offer(frame)

    def _serve(self) -> None:
        """Serve the window, or wait for something to happen."""
        mine = [outlet for outlet in self.outlets if outlet.sink.on_main_thread and outlet.is_open]
        for outlet in mine:
            outlet.serve(_TICK_S)
        if not mine:
            self._changed.wait(_TICK_S)
            self._changed.clear()

    def _is_over(self) -> bool:
        for outlet in self.outlets:
            self._tell(outlet)
        asked = self.painter.controls.wants_quit or any(outlet.wants_quit for outlet in self.outlets)
        return self._ended or asked or not any(outlet.is_open for outlet in self.outlets)

    def _tell(self, outlet: Outlet) -> None:
        """Say once that a sink has died; what is a bug of ours is raised."""
        if isinstance(outlet.error, StylecamError) and not outlet.is_told:
            outlet.is_told = True
            self.messages(f"{outlet.name} has stopped: {outlet.error.message}")
        elif outlet.error is not None and not isinstance(outlet.error, StylecamError):
            raise outlet.error

    def _follow_recording(self) -> None:
        """Begin or end the recording that keys and page ask for."""
        controls = self.painter.controls
        wanted = controls.settings.recording
        if wanted and self._recording is None and self._open_recording is not None:
            try:
                name, sink = self._open_recording()
            except SinkError as exc:
                self.messages(f"no recording: {exc.message}")
                controls.change(recording=False)
                return
            self._recording, self._recording_since_s = (self.attach(name, sink), sink), time.monotonic()
            held = self.painter.held()
            if controls.settings.paused and held is not None:
                self._recording[0].offer(held)
            self.messages(f"recording into {name}")
        elif self._recording is not None and not (wanted and self._recording[0].is_open):
            self._end_recording()
            if wanted:
                controls.change(recording=False)

    def _end_recording(self) -> None:
        if self._recording is None:
            return
        outlet, sink = self._recording
        self._recording = None
        outlet.finish()
        try:
            sink.close()
            self._tell(outlet)
            if outlet.meter.frames:
                self.recorded.append(outlet)
            if outlet.error is None:
                got = f"recorded: {outlet.name}" if outlet.meter.frames else "nothing recorded: no frame came"
                self.messages(got)
        except SinkError as exc:
            self.messages(exc.message)
        self.outlets.remove(outlet)

    def _finish(self) -> None:
        self._end_recording()
        for outlet in self.outlets:
            outlet.finish()
        died = [outlet.error for outlet in self.outlets if outlet.error is not None]
        if self._error is None and died:
            self._error = died[0]


class _Limit:
    """So many seconds of the source from its first frame on; by the clock where it gives none."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = math.inf if seconds is None else seconds
        self._first: tuple[float, float] | None = None

    def is_reached(self, frame: Frame | None) -> bool:
        """Tell whether this frame, or the time at which there is none, lies beyond."""
        if frame is not None and self._first is None:
            self._first = frame.timestamp_s, time.monotonic()
        if self._first is None:
            return False
        at_s = time.monotonic() - self._first[1] if frame is None else frame.timestamp_s - self._first[0]
        return at_s >= self._seconds


class _Ended(Exception):
    """The source has no more frames."""
