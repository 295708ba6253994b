"""What goes in comes out: films of every kind, through source and sink without a net between."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, cast

import cv2

# isort: split
import av
import av.stream
import av.subtitles.subtitle
import numpy as np
import pytest
from films import bars, make_film, make_full_film, make_raw_film, number_of, numbered, sound_of, times_of

from stylecam.errors import SinkOpenError, SourceOpenError
from stylecam.frames import Frame, Pixels
from stylecam.packets import Joints
from stylecam.sinks import codecs
from stylecam.sinks.codecs import Encoding
from stylecam.sinks.pipe import PipeSink
from stylecam.sinks.target import has_one_rate, open_target
from stylecam.sources import FileSource
from stylecam.sources.pyav import FilmSource
from stylecam.sources.resample import parse_fps

FILM = Fraction(24000, 1001)
NTSC = Fraction(30000, 1001)
AS_IT_COMES = Encoding()


def passed(
    source: Path | str, target: Path | str, encoding: Encoding = AS_IT_COMES, **part: Any
) -> list[str]:
    """Send every frame from source to target; return all that was said about it."""
    fps = part.pop("fps", None)
    with FilmSource(source, fps=fps, **part) as film, open_target(str(target), film, encoding, **part) as out:
        while (frame := film.read()) is not None:
            out.write(frame)
        assert film.missing_s == 0
    return film.notes + out.notes


def frames_of(name: Path | str, **part: Any) -> list[Frame]:
    with FilmSource(name, **part) as film:
        return list(iter(film.read, None))


def ticks_of(path: Path) -> list[Fraction]:
    with av.open(str(path)) as film:
        return [
            f.pts * Fraction(f.time_base) for f in film.decode(video=0) if f.pts is not None and f.time_base
        ]


def yuv(bgr: Pixels, pix_fmt: str = "yuv444p") -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(bgr, format="bgr24").reformat(format=pix_fmt)


# Times


@pytest.mark.parametrize("rate", [FILM, NTSC, Fraction(25), Fraction(60)])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_rates_stay_exact_fractions(tmp_path: Path, rate: Fraction, suffix: str) -> None:
    film = make_raw_film(
        tmp_path / f"in{suffix}", (yuv(numbered(i)) for i in range(30)), codec="libx264", rate=rate
    )
    assert passed(film, tmp_path / f"out{suffix}") == []
    assert [number_of(f.bgr) for f in frames_of(tmp_path / f"out{suffix}")] == list(range(30))
    with av.open(str(tmp_path / f"out{suffix}")) as out:
        assert out.streams.video[0].average_rate == rate
    if suffix != ".mkv":  # which counts milliseconds
        assert ticks_of(tmp_path / f"out{suffix}") == [i / rate for i in range(30)]


def length_of(path: Path) -> float:
    with av.open(str(path)) as film:
        video = film.streams.video[0]
        return float((video.duration or 0) * (video.time_base or 0))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_a_variable_rate_stays_as_it_is(tmp_path: Path, suffix: str) -> None:
    times_s = [0.0, 0.011, 0.05, 0.3, 0.317, 1.25, 1.3]
    film = make_film(tmp_path / "in.mp4", times_s)
    passed(film, tmp_path / f"out{suffix}")
    assert times_of(tmp_path / f"out{suffix}") == pytest.approx(
        times_s, abs=0.0006 if suffix != ".mp4" else 1e-9
    )


def test_the_last_frame_lasts_as_long_as_it_did(tmp_path: Path) -> None:
    pictures = [yuv(numbered(i), "yuv420p") for i in range(3)]
    for picture, ms, lasts_ms in zip(pictures, (0, 100, 200), (100, 100, 1800), strict=True):
        picture.pts, picture.time_base, picture.duration = ms, Fraction(1, 1000), lasts_ms
    rate, options = Fraction(1000), {"bf": "0"}
    film = make_raw_film(tmp_path / "in.mp4", pictures, codec="libx264", rate=rate, options=options)
    passed(film, tmp_path / "out.mp4")
    assert length_of(tmp_path / "out.mp4") == pytest.approx(2.0)


def test_a_last_frame_without_a_length_lasts_one_step(tmp_path: Path) -> None:
    film = make_film(tmp_path / "in.ts", [i / 10 for i in range(10)])
    passed(film, tmp_path / "out.mp4")
    assert length_of(tmp_path / "out.mp4") == pytest.approx(1.0, abs=1e-3)


def test_one_frame_and_no_sound(tmp_path: Path) -> None:
    assert passed(make_film(tmp_path / "in.mp4", [0.0]), tmp_path / "out.mp4") == []
    with av.open(str(tmp_path / "out.mp4")) as film:
        assert len(film.streams) == 1
    assert len(frames_of(tmp_path / "out.mp4")) == 1


def test_a_start_offset_keeps_picture_and_sound_together(tmp_path: Path) -> None:
    film = make_film(tmp_path / "in.ts", [0.5 + i / 10 for i in range(10)], sound_s=1.5)
    passed(film, tmp_path / "out.mp4")
    before_s = times_of(film)[0] - sound_of(film)[0][0]
    after_s = times_of(tmp_path / "out.mp4")[0] - sound_of(tmp_path / "out.mp4")[0][0]
    assert before_s > 0.4
    assert after_s == pytest.approx(before_s, abs=1e-3)


def test_an_edit_list_is_followed(tmp_path: Path) -> None:
    whole = make_film(tmp_path / "whole.mp4", [i / 10 for i in range(20)], sound_s=2.0)
    film = tmp_path / "in.mp4"
    with av.open(str(whole)) as before, av.open(str(film), "w") as after:
        copies = {stream.index: after.add_stream_from_template(stream) for stream in before.streams}
        for packet in before.demux():
            if packet.size and packet.pts is not None and packet.dts is not None:
                shift = round(Fraction(1, 2) / packet.time_base)  # the first half second is cut away
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = copies[packet.stream.index]
                after.mux(packet)
    assert [number_of(f.bgr) for f in frames_of(film)] == list(range(5, 20))
    passed(film, tmp_path / "out.mp4")
    assert times_of(tmp_path / "out.mp4") == pytest.approx([i / 10 for i in range(15)], abs=1e-6)
    assert [n for n, *_ in sound_of(tmp_path / "out.mp4")][-1] == pytest.approx(
        sound_of(film)[-1][0], abs=0.001
    )


def test_another_rate_repeats_and_leaves_out(tmp_path: Path) -> None:
    film = make_film(tmp_path / "in.mp4", [0.0, 0.1, 0.2, 0.6, 0.7])
    twice = frames_of(film, fps=Fraction(20))
    assert [number_of(f.bgr) for f in twice] == [0, 0, 1, 1, *[2] * 8, 3, 3, 4, 4]
    assert [f.timestamp_s for f in twice] == pytest.approx([i / 20 for i in range(16)])
    assert [number_of(f.bgr) for f in frames_of(film, fps=Fraction(5))] == [0, 2, 2, 3, 4]


@pytest.mark.parametrize(
    ("text", "rate"),
    [("25", 25), ("29.97", NTSC), ("23.976", FILM), ("30000/1001", NTSC), ("12.5", Fraction(25, 2))],
)
def test_rates_as_people_write_them(text: str, rate: Fraction) -> None:
    assert parse_fps(text) == rate


@pytest.mark.parametrize("text", ["fast", "0", "-3", "1/0", "nan"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(SourceOpenError, match="frame rate"):
        parse_fps(text)


# Parts


@pytest.mark.parametrize(
    ("start_s", "end_s", "numbers"), [(0.7, 1.2, range(7, 12)), (0.65, 9, range(7, 20)), (0, 0.3, range(3))]
)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_a_part_is_exact(tmp_path: Path, start_s: float, end_s: float, numbers: range, suffix: str) -> None:
    film = tmp_path / f"in{suffix}"
    make_raw_film(film, (yuv(numbered(i), "yuv420p") for i in range(20)), codec="libx264", rate=Fraction(10))
    part = frames_of(film, start_s=start_s, end_s=end_s)
    assert [number_of(f.bgr) for f in part] == list(numbers)
    assert [f.timestamp_s for f in part] == pytest.approx([n / 10 for n in numbers], abs=1e-3)


@pytest.mark.parametrize(
    ("part", "words"),
    [({"start_s": 5}, "from 5 s on"), ({"start_s": 1, "end_s": 0.5}, "between 1 s and 0.5 s")],
)
def test_a_part_beyond_the_end_is_said(tmp_path: Path, part: dict[str, float], words: str) -> None:
    with pytest.raises(SourceOpenError, match=f"no frame {words}") as caught:
        FilmSource(make_film(tmp_path / "in.mp4", [0.0, 0.1]), **part)  # type: ignore[arg-type]
    assert "it lasts 0.200 s" in caught.value.hint


def test_what_is_no_film_on_stdin_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(b"no film"))))
    with pytest.raises(SourceOpenError, match="what came from stdin is no film"):
        FilmSource("-")


def test_stdin_that_finds_no_room_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(b"film"))))
    with pytest.raises(SourceOpenError, match="No space left") as caught:
        FilmSource("-")
    assert "make room in" in caught.value.hint


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_sound_is_cut_with_the_picture(tmp_path: Path, suffix: str) -> None:
    film = make_film(tmp_path / f"in{suffix}", [i / 10 for i in range(30)], sound_s=3.0)
    passed(film, tmp_path / f"out{suffix}", start_s=1.0, end_s=2.0)
    block_s = 1024 / 48_000
    whole, part = sound_of(film), sound_of(tmp_path / f"out{suffix}")
    assert times_of(tmp_path / f"out{suffix}") == pytest.approx([i / 10 for i in range(10)], abs=1e-3)
    assert -block_s < part[0][0] < block_s
    assert 1.0 - block_s <= part[-1][0] < 1.0
    place = {data: time_s for time_s, data in whole}
    assert [time_s + 1.0 for time_s, _ in part] == pytest.approx([place[data] for _, data in part], abs=2e-3)


# Geometry


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_films_stand_upright(tmp_path: Path, turn: int) -> None:
    film = make_raw_film(
        tmp_path / "in.mp4", (yuv(bars((224, 64)), "yuv420p") for _ in range(3)), codec="libx264", turn=turn
    )
    with FileSource(film) as source:  # OpenCV, as a second opinion
        shown = source.read()
    assert shown is not None
    ours = frames_of(film)[0].bgr
    assert ours.shape == shown.bgr.shape == ((64, 224, 3) if turn == 180 else (224, 64, 3))
    assert np.abs(ours.astype(int) - shown.bgr).mean() < 8
    assert np.abs(ours.astype(int) - np.rot90(shown.bgr, 2)).mean() > 20
    passed(film, tmp_path / "out.mp4")
    assert frames_of(tmp_path / "out.mp4")[0].bgr.shape == ours.shape


@pytest.mark.parametrize(("aspect", "size_wh"), [(Fraction(16, 11), (93, 48)), (Fraction(1, 2), (64, 96))])
def test_pixels_are_made_square(tmp_path: Path, aspect: Fraction, size_wh: tuple[int, int]) -> None:
    film = make_raw_film(
        tmp_path / "in.mp4",
        [yuv(numbered(3), "yuv420p")],
        codec="libx264",
        tags={"sample_aspect_ratio": aspect},
    )
    notes = passed(film, tmp_path / "out.mp4")
    assert f"64x48 becomes {size_wh[0]}x{size_wh[1]}" in notes[0]
    with av.open(str(tmp_path / "out.mp4")) as out:
        video = out.streams.video[0]
        assert (video.width, video.height) == size_wh
        assert video.sample_aspect_ratio in (None, 0, 1)


CODECS = [(".mp4", "h264"), (".mp4", "hevc"), (".mp4", "av1"), (".webm", "vp9"), (".webm", "av1"),
          (".mov", "prores"), (".gif", "auto"), (".y4m", "auto"), (".mkv", "vp9")]  # fmt: skip


@pytest.mark.parametrize(("suffix", "codec"), CODECS)
@pytest.mark.parametrize("size_wh", [(65, 49), (66, 50)])
def test_every_codec_keeps_frames_and_size(
    tmp_path: Path, suffix: str, codec: str, size_wh: tuple[int, int]
) -> None:
    film = make_raw_film(
        tmp_path / "in.mkv", (yuv(numbered(i, size_wh)) for i in range(5)), rate=Fraction(10)
    )
    assert passed(film, tmp_path / f"out{suffix}", Encoding(codec)) == []
    out = frames_of(tmp_path / f"out{suffix}")
    assert [number_of(f.bgr) for f in out] == list(range(5))
    assert out[0].bgr.shape == (size_wh[1], size_wh[0], 3)
    assert [f.timestamp_s for f in out] == pytest.approx([i / 10 for i in range(5)], abs=1e-3)


@pytest.mark.parametrize("size_wh", [(34, 20), (48, 27)])
def test_hevc_of_very_small_pictures(tmp_path: Path, size_wh: tuple[int, int]) -> None:
    """In a process of its own: x265 took the whole program with it."""
    film = make_raw_film(tmp_path / "in.mkv", (yuv(numbered(i, size_wh)) for i in range(10)))
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\nfrom test_faithful import Encoding, passed\n"
        "passed(sys.argv[2], sys.argv[3], Encoding('hevc'))"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(film), str(tmp_path / "out.mp4")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert [number_of(f.bgr) for f in frames_of(tmp_path / "out.mp4")] == list(range(10))


def test_hevc_is_tagged_for_apple(tmp_path: Path) -> None:
    film = make_film(tmp_path / "in.mp4", [0.0, 0.1])
    passed(film, tmp_path / "out.mp4", Encoding("hevc", crf=30, preset="ultrafast"))
    with av.open(str(tmp_path / "out.mp4")) as out:
        assert out.streams.video[0].codec_context.codec_tag == "hvc1"


@pytest.mark.parametrize(
    ("suffix", "encoding", "cause"),
    [
        (".mp4", Encoding("divx"), "not known"),
        (".webm", Encoding("h264"), "does not fit"),
        (".mp4", Encoding(preset="warp"), "no encoder"),
        (".mov", Encoding("prores", crf=3), "--crf"),
        (".gif", Encoding(bitrate=9), "--bitrate"),
        (".mp4", Encoding(crf=20, bitrate=9), "exclude each other"),
        ("/", Encoding(crf=9), "no codec to choose"),
    ],
)
def test_what_cannot_be_encoded_is_said_at_once(
    tmp_path: Path, suffix: str, encoding: Encoding, cause: str
) -> None:
    film = make_film(tmp_path / "in.mp4", [0.0])
    with pytest.raises(SinkOpenError, match=cause):
        passed(film, f"{tmp_path}/out{suffix}", encoding)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_bitrate_and_crf_reach_the_encoder(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = [yuv(rng.integers(0, 256, (96, 128, 3), np.uint8)) for _ in range(10)]
    film = make_raw_film(tmp_path / "in.mkv", noise)
    sizes = []
    for encoding in (Encoding(crf=10), Encoding(crf=40), Encoding(bitrate=100_000)):
        passed(film, tmp_path / "out.mp4", encoding)
        sizes.append((tmp_path / "out.mp4").stat().st_size)
    assert sizes[0] > 3 * sizes[1]
    assert sizes[0] > 3 * sizes[2]


# Damage


def place_of(film: Path, number: int) -> tuple[int, int]:
    """Where a packet's picture lies in the file, and how long it is."""
    with av.open(str(film)) as opened:
        packet = [p for p in opened.demux(video=0) if p.size][number]
        assert packet.pos is not None
        return packet.pos, packet.size


def broken(film: Path, number: int) -> Path:
    """Overwrite the bytes of one packet's picture."""
    place, size = place_of(film, number)
    data = bytearray(film.read_bytes())
    data[place + 4 : place + size] = b"\xff" * (size - 4)
    film.write_bytes(data)
    return film


def test_a_damaged_frame_repeats_the_last_good_one(tmp_path: Path) -> None:
    film = make_raw_film(
        tmp_path / "in.mp4", (yuv(numbered(i), "yuv420p") for i in range(20)), codec="libx264",
        rate=Fraction(10), options={"g": "1", "crf": "5"},
    )  # fmt: skip
    with FilmSource(broken(film, 7)) as source:
        came = list(iter(source.read, None))
        assert [number_of(f.bgr) for f in came] == [*range(7), 6, *range(8, 20)]
        assert [f.timestamp_s for f in came] == pytest.approx([i / 10 for i in range(20)])
        assert source.damaged == pytest.approx([0.7])
        assert "0:00.700" in source.notes[0]
        assert source.missing_s == 0


def test_a_frame_that_is_dropped_without_a_word_is_damage_too(tmp_path: Path) -> None:
    """Its units have become of a type that HEVC decoders have to ignore."""
    film = make_raw_film(
        tmp_path / "in.mp4", (yuv(numbered(i), "yuv420p") for i in range(20)), codec="libx265",
        rate=Fraction(10), options={"x265-params": "log-level=none:keyint=1", "crf": "5"},
    )  # fmt: skip
    data = bytearray(film.read_bytes())
    place, size = place_of(film, 7)
    end = place + size
    while place < end:
        data[place + 4] = 41 << 1
        place += 4 + int.from_bytes(data[place : place + 4])
    film.write_bytes(data)
    with FilmSource(film) as source:
        came = list(iter(source.read, None))
        assert [number_of(f.bgr) for f in came] == [*range(7), 6, *range(8, 20)]
        assert source.damaged == pytest.approx([0.7])


@pytest.mark.parametrize("start", [0, 7, 24, 50])
def test_pictures_reordered_without_times_come_in_order(tmp_path: Path, start: int) -> None:
    """AVI keeps no times of showing; before the key frames some pictures lean on both sides."""
    film = make_raw_film(
        tmp_path / "in.avi", (yuv(numbered(i % 30), "yuv420p") for i in range(60)), codec="libx264",
        options={"x264-params": "open-gop=1:b-adapt=0:bframes=3:keyint=20", "crf": "5"},
    )  # fmt: skip
    with FilmSource(film, start_s=start / 25) as source:
        came = list(iter(source.read, None))
        assert [number_of(f.bgr) for f in came] == [i % 30 for i in range(start, 60)]
        assert [f.timestamp_s for f in came] == pytest.approx([i / 25 for i in range(start, 60)])
        assert source.damaged == []
    passed(film, tmp_path / "out.mp4")
    assert times_of(tmp_path / "out.mp4") == pytest.approx([i / 25 for i in range(60)])


def test_damage_is_repaired_where_pictures_have_no_times(tmp_path: Path) -> None:
    film = make_raw_film(
        tmp_path / "in.avi", (yuv(numbered(i), "yuv420p") for i in range(30)), codec="libx264",
        options={"x264-params": "b-adapt=0:bframes=1:keyint=10", "crf": "5"},
    )  # fmt: skip
    with FilmSource(broken(film, 10)) as source:
        came = list(iter(source.read, None))
        assert [f.timestamp_s for f in came] == pytest.approx([i / 25 for i in range(30)])
        assert len(source.damaged) == 1
    assert [number_of(f.bgr) for f in came[20:]] == list(range(20, 30))


def test_recordings_joined_by_their_bytes_come_one_behind_another(tmp_path: Path) -> None:
    """The second begins at the time of the first, whose sound goes on a little longer than its picture."""
    one = make_film(tmp_path / "one.ts", [i / 10 for i in range(10)], sound_s=1.02, tracks=2)
    film, out = tmp_path / "in.ts", tmp_path / "out.mp4"
    film.write_bytes(one.read_bytes() * 2)
    for start in (0, 3, 12):
        with FilmSource(film, start_s=start / 10) as source:
            came = list(iter(source.read, None))
            assert [number_of(f.bgr) for f in came] == [i % 10 for i in range(start, 20)]
            assert [f.timestamp_s for f in came] == pytest.approx(
                [i / 10 for i in range(start, 20)], abs=1e-3
            )
            assert source.damaged == []
    assert passed(film, out) == []
    assert length_of(out) == pytest.approx(2.0, abs=1e-3)
    for track in (0, 1):
        whole, twice = sound_of(one, track), sound_of(out, track)
        place, data = whole[20][0] - whole[0][0], whole[20][1][len(ADTS) + 3 :]
        assert [at_s for at_s, d in twice if d == data] == pytest.approx([place, place + 1], abs=1e-3)
        assert 2 * len(whole) - 2 <= len(twice) <= 2 * len(whole)


def test_sound_whose_times_alone_jump_back_stays_where_it_says(tmp_path: Path) -> None:
    film = make_film(tmp_path / "in.ts", [i / 10 for i in range(30)], sound_s=3.0)
    with av.open(str(film)) as opened:
        joints = Joints(opened.streams.video[0])
        came, gone = [], []
        for packet in opened.demux():
            if packet.dts is not None:
                if packet.stream.type == "audio" and packet.dts > 3 * 90_000:
                    packet.pts = packet.dts = packet.dts - 90_000
                came.append((packet.stream.index, packet.dts))
                gone += [(moved.stream.index, moved.dts) for moved in joints.put(packet)]
        gone += [(moved.stream.index, moved.dts) for moved in joints.rest()]
    assert sorted(gone) == sorted(came)
    assert joints.count == 0


def film_with_damaged_sound(path: Path) -> Path:
    """Three seconds in .ts, the header of its sound's packet number 60 overwritten."""
    data = bytearray(make_film(path, [i / 10 for i in range(30)], sound_s=3.0).read_bytes())
    place = [match.start() for match in re.finditer(ADTS, data)][60]
    data[place : place + 2] = b"\0\0"
    path.write_bytes(data)
    return path


ADTS = b"\xff\xf1\x4c\x80"
"""What every packet of AAC at 48 kHz in stereo begins with there."""


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_damaged_sound_costs_itself_alone(tmp_path: Path, suffix: str) -> None:
    whole = make_film(tmp_path / "whole.ts", [i / 10 for i in range(30)], sound_s=3.0)
    film, out = film_with_damaged_sound(tmp_path / "in.ts"), tmp_path / f"out{suffix}"
    assert passed(film, out)[-1] == "damaged packets of track 1: 1 left out, the first at 1.280 s"
    assert len(times_of(out)) == 30
    assert sound_of(out)[-1][0] == pytest.approx(sound_of(whole)[-1][0] - sound_of(whole)[0][0], abs=0.03)
    if suffix != ".webm":
        assert len(sound_of(out)) == len(sound_of(whole)) - 1


def test_a_film_that_breaks_off_tells_how_much_is_missing(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = (yuv(rng.integers(0, 256, (48, 64, 3), np.uint8)) for _ in range(30))
    whole = make_raw_film(tmp_path / "whole.mkv", noise, rate=Fraction(10))
    data = whole.read_bytes()
    whole.write_bytes(data[: len(data) // 2])
    with FilmSource(whole) as source:
        came = list(iter(source.read, None))
        assert 3 < len(came) < 27
        assert source.missing_s == pytest.approx(3.0 - len(came) / 10, abs=0.25)


# Names


def test_pictures_in_pictures_out(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for index in range(4):
        cv2.imwrite(str(tmp_path / "in" / f"shot-{index + 7:03}.png"), bars() // (index + 1))
    notes = passed(f"{tmp_path}/in/shot-%03d.png", f"{tmp_path}/out/")
    assert notes == ["pictures taken at 25 fps; --fps says otherwise"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{n:06}.png" for n in range(1, 5)]
    for index in range(4):
        back = cv2.imread(str(tmp_path / "out" / f"{index + 1:06}.png"))
        assert back is not None
        assert np.array_equal(back, bars() // (index + 1))
    assert [f.timestamp_s for f in frames_of(f"{tmp_path}/in/shot-%03d.png", fps=Fraction(5))] == [
        0,
        0.2,
        0.4,
        0.6,
    ]
    (tmp_path / "in" / "shot-008.png").unlink()
    with FilmSource(f"{tmp_path}/in/shot-%03d.png") as source:
        assert "number 8 is missing" in source.notes[1]


def test_no_pictures(tmp_path: Path) -> None:
    with pytest.raises(SourceOpenError, match="no picture is called"):
        FilmSource(f"{tmp_path}/%06d.png")


def test_a_pipe_in_and_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film = make_film(tmp_path / "in.mp4", [i / 10 for i in range(5)], sound_s=0.5)
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=out))
    monkeypatch.setattr(
        sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(film.read_bytes())))
    )
    assert has_one_rate("-")
    passed("-", tmp_path / "sound.mp4")
    assert sound_of(tmp_path / "sound.mp4") == sound_of(film)
    assert "pictures alone" in passed(film, "-")[0]
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(out.getvalue()))))
    assert [number_of(f.bgr) for f in frames_of("-")] == list(range(5))


# All the other tracks


def summary(path: Path) -> dict[str, Any]:
    with av.open(str(path)) as film:
        chapters = [
            (
                float(c["start"] * (c["time_base"] or 1)),
                float(c["end"] * (c["time_base"] or 1)),
                c["metadata"]["title"],
            )
            for c in film.chapters()
        ]
        tracks = [
            (stream.type, stream.metadata.get("language"))
            for stream in film.streams
            if stream.type in ("audio", "subtitle")
        ]
        return {"title": film.metadata.get("title"), "chapters": chapters, "tracks": tracks}


def texts_of(path: Path) -> list[tuple[float, str]]:
    with av.open(str(path)) as film:
        lines = film.streams.subtitles[0]
        found = []
        for packet in film.demux(lines):
            decoded = lines.decode2(packet) if packet.size > 2 else None
            for rect in decoded.rects if decoded else ():
                assert isinstance(rect, av.subtitles.subtitle.AssSubtitle)
                found.append((float((packet.pts or 0) * packet.time_base), rect.dialogue.decode()))
        # Matroska has no times below 0: with sound that begins there, everything moves together.
        first_s = times_of(path)[0]
        return [(round(time_s - first_s, 2), text) for time_s, text in found]


@pytest.mark.parametrize("before", [".mkv", ".mp4"])
@pytest.mark.parametrize("after", [".mkv", ".mp4", ".mov", ".webm"])
def test_everything_comes_along(tmp_path: Path, before: str, after: str) -> None:
    film, out = make_full_film(tmp_path / f"in{before}"), tmp_path / f"out{after}"
    notes = passed(film, out)
    languages = ["eng", "ger" if after == ".mov" else "deu", "fra"]
    assert summary(out) == {
        "title": "All of it",
        "chapters": [(0.0, 1.0, "Part 0"), (1.0, 3.0, "Part 1")],
        "tracks": [("audio", languages[0]), ("audio", languages[1]), ("subtitle", languages[2])],
    }
    assert texts_of(out) == texts_of(film) == [(0.5, "One"), (1.5, "Two")]
    if after == ".webm":
        assert [note for note in notes if "libopus" in note] != []
        assert sound_of(out)[-1][0] == pytest.approx(sound_of(film)[-1][0], abs=0.03)
    else:
        for track in (0, 1):
            assert [data for _, data in sound_of(out, track)] == [data for _, data in sound_of(film, track)]
    with av.open(str(out)) as opened:
        files = [file.data for file in opened.streams.attachments]
    assert files == ([b"letters"] if before == after == ".mkv" else [])
    assert any("attachments" in note for note in notes) == (before == ".mkv" and after != ".mkv")


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".webm"])
def test_a_part_takes_its_part_of_everything(tmp_path: Path, suffix: str) -> None:
    film, out = make_full_film(tmp_path / "in.mkv"), tmp_path / f"out{suffix}"
    passed(film, out, start_s=1.0, end_s=2.0)
    assert summary(out)["chapters"] == [(0.0, 1.0, "Part 1")]
    assert texts_of(out) == [(0.5, "Two")]
    for track in (0, 1):
        times_s = [time_s for time_s, _ in sound_of(out, track)]
        assert abs(times_s[0]) < 0.03
        assert times_s[-1] == pytest.approx(1.0, abs=0.05)


APPLE = {"com.apple.quicktime.make": "Apple", "com.apple.quicktime.creationdate": "2024-05-01T10:00:00+0200"}


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_what_a_telephone_writes_of_itself_comes_along(tmp_path: Path, suffix: str) -> None:
    picture, film = make_film(tmp_path / "plain.mp4", [0.0, 0.1]), tmp_path / "in.mov"
    options = {"movflags": "use_metadata_tags"}
    with av.open(str(picture)) as plain, av.open(str(film), "w", options=options) as out:
        out.metadata.update({**APPLE, "title": "Me"})
        copy = out.add_stream_from_template(plain.streams.video[0])
        for packet in plain.demux(video=0):
            if packet.size:
                packet.stream = copy
                out.mux(packet)
    passed(film, tmp_path / f"out{suffix}")
    with av.open(str(tmp_path / f"out{suffix}")) as opened:
        kept = {name.lower(): value for name, value in opened.metadata.items()}
    assert {name.lower(): value for name, value in APPLE.items()}.items() <= kept.items()
    assert kept["title"] == "Me"


def test_a_track_of_data_is_left_out_and_said(tmp_path: Path) -> None:
    film = make_film(tmp_path / "in.ts", [i / 10 for i in range(10)])
    with av.open(str(film)) as before, av.open(str(tmp_path / "data.ts"), "w") as after:
        copy, data = (
            after.add_stream_from_template(before.streams.video[0]),
            after.add_data_stream("bin_data"),
        )
        for packet in before.demux(video=0):
            if packet.size:
                note = av.Packet(b"where it was")
                note.stream, note.pts, note.dts, note.time_base = (
                    data,
                    packet.pts,
                    packet.dts,
                    packet.time_base,
                )
                packet.stream = copy
                after.mux([packet, note])
    assert passed(tmp_path / "data.ts", tmp_path / "out.mp4") == ["the data of track 1 left out"]


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [("wavpack", ".mp4"), ("flac", ".mov"), ("libopus", ".mov")],  # .mov's list of codecs holds these two
)
def test_sound_that_does_not_fit_is_encoded_anew(tmp_path: Path, codec: str, suffix: str) -> None:
    film = make_film(tmp_path / "in.mkv", [i / 10 for i in range(10)], sound_s=1.0, codec=codec)
    name = codec.removeprefix("lib")
    assert passed(film, tmp_path / f"out{suffix}") == [
        f"the {name} sound of track 1 encoded as aac, for {suffix}"
    ]

    def wave(path: Path) -> Any:
        with av.open(str(path)) as opened:
            step = 1 if opened.streams.audio[0].format.is_planar else 2
            blocks = [block.to_ndarray()[0, ::step] for block in opened.decode(audio=0)]
            return np.concatenate(blocks)[4800:43200]

    assert np.corrcoef(wave(film), wave(tmp_path / f"out{suffix}"))[0, 1] > 0.99  # not a block out of place
    assert "left out" in passed(film, tmp_path / "out.gif")[0]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_cover_comes_along_and_is_not_painted(tmp_path: Path, suffix: str) -> None:
    film = tmp_path / "in.mp4"
    _, png = cv2.imencode(".png", bars())
    picture, first = make_film(tmp_path / "plain.mp4", [0.0, 0.1, 0.2]), tmp_path / "cover.png"
    first.write_bytes(png.tobytes())
    with av.open(str(first)) as cover, av.open(str(picture)) as plain, av.open(str(film), "w") as out:
        copies = [out.add_stream_from_template(source.streams.video[0]) for source in (cover, plain)]
        copies[0].disposition = av.stream.Disposition.attached_pic
        for source, copy in zip((cover, plain), copies, strict=True):
            for packet in source.demux(video=0):
                if packet.size:
                    packet.stream = copy
                    out.mux(packet)
    assert [number_of(f.bgr) for f in frames_of(film)] == [0, 1, 2]
    passed(film, tmp_path / f"out{suffix}")
    with av.open(str(tmp_path / f"out{suffix}")) as opened:
        covers = [v for v in opened.streams.video if v.disposition & av.stream.Disposition.attached_pic]
        assert [bytes(p) for p in opened.demux(covers[0]) if p.size] == [png.tobytes()]
    assert [number_of(f.bgr) for f in frames_of(tmp_path / f"out{suffix}")] == [0, 1, 2]


class _Shut(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def test_a_reader_that_goes_away_ends_the_run(tmp_path: Path) -> None:
    with PipeSink(cast(BinaryIO, _Shut()), fps=10) as sink:
        for index in range(40):
            sink.write(Frame(numbered(3, (640, 480)), index / 10, 0.0))
            if sink.wants_quit:
                break
        assert sink.wants_quit


def test_an_encoder_that_is_named_is_used_or_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = make_film(tmp_path / "in.mp4", [0.0, 0.1])
    probe = codecs._probe
    monkeypatch.setattr(codecs, "_probe", lambda plan: "no card" if "nvenc" in plan.encoder else probe(plan))
    with pytest.raises(SinkOpenError, match="no card"):
        passed(film, tmp_path / "out.mp4", Encoding("h264_nvenc"))
    assert passed(film, tmp_path / "out.mp4", Encoding("h264")) == []


def test_nvenc_is_taken_where_it_opens_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "_probe", lambda plan: "")
    plan = codecs.plan_encoding(codecs.CONTAINERS[".mp4"], ".mp4", Encoding("hevc", crf=21))
    assert (plan.encoder, plan.options["cq"], plan.tag) == ("hevc_nvenc", "21", "hvc1")
    assert "hevc_nvenc" in plan.note
