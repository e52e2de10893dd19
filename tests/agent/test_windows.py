from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.agent.windows import Windows
from tests.speech import frames_of, say

pytestmark = pytest.mark.unit


@given(st.integers(1, 60))
def test_windows_hold_every_sample_once_and_know_their_time(n_frames: int) -> None:
    source = np.round(8000 * np.sin(np.arange(n_frames * 960) * 2 * np.pi * 440 / 48_000))
    windows = Windows(512)
    cut = [
        window
        for frame in frames_of(source.astype(np.int16), 100.0)
        for window in windows.push(frame)
    ]
    for number, window in enumerate(cut, 1):
        assert window.ended_at == pytest.approx(100.0 + number * 0.032, abs=1e-6)
    heard = np.concatenate([np.empty(0, np.int16), *(window.samples for window in cut)])
    assert n_frames * 320 - len(heard) < 512 + 320
    expected = 8000 * np.sin(np.arange(len(heard)) * 2 * np.pi * 440 / 16_000)
    assert np.abs(heard[50:-50] - expected[50:-50]).max(initial=0) < 100


def test_windows_of_a_burst_do_not_go_back_in_time() -> None:
    windows = Windows(512)
    frames = [replace(frame, received_at=7.0) for frame in frames_of(say(1, 2), 0.0)]
    times = [window.ended_at for frame in frames for window in windows.push(frame)]
    assert times == sorted(times)
