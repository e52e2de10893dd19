"""Two processes, one folder, one page: what `serve` sets up."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.network

AGENT = """
from mulisa.core.account import Trouble
from mulisa.core.metrics import TurnMetrics
from mulisa.worker.metrics import AgentMetrics
metrics = AgentMetrics()
metrics.session_started()
metrics.turn_committed(addressed=False)
for turn in (
    TurnMetrics(10.0, transcribed_at=10.2, committed_at=10.5, first_frame_sent_at=10.9),
    TurnMetrics(20.0, committed_at=20.3, first_frame_sent_at=20.7),
):
    metrics.turn_committed(addressed=True)
    metrics.reply_started(turn)
metrics.reply_interrupted()
metrics.reply_failed()
metrics.voice_gaps(underruns=1, stalls=2)
metrics.engine_used("OpenAI", "tokens", 1250)
metrics.engine_used("OpenAI", "tokens", 250)
metrics.engine_used("Azure", "seconds", 1.5)
metrics.engine_trouble(Trouble("stt", "OpenAI", "it is slow"))
metrics.engine_trouble(Trouble("stt", "OpenAI", ""))
"""
GATEWAY = """
from prometheus_client.multiprocess import mark_process_dead
from mulisa.server.metrics import GatewayMetrics
metrics = GatewayMetrics()
metrics.set_rooms(2)
if {pid}:
    mark_process_dead({pid})
print(metrics.render().decode())
"""


def run(code: str, folder: Path) -> tuple[int, str]:
    child = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
    )
    output, _ = child.communicate(timeout=30)
    assert child.returncode == 0
    return child.pid, output


def test_the_gateway_shows_the_agents_stages_too(tmp_path: Path) -> None:
    pid, _ = run(AGENT, tmp_path)
    _, page = run(GATEWAY.format(pid=0), tmp_path)
    assert 'mulisa_stage_seconds_count{stage="response"} 2.0' in page
    assert 'mulisa_stage_seconds_count{stage="endpointing"} 2.0' in page
    assert 'mulisa_stage_seconds_bucket{le="0.3",stage="transcription"} 1.0' in page
    for line in (
        'turns_total{addressed="true"} 2.0',
        'turns_total{addressed="false"} 1.0',
        "replies_total 2.0",
        "interruptions_total 1.0",
        "reply_failures_total 1.0",
        'voice_gaps_total{cause="synthesis"} 1.0',
        'voice_gaps_total{cause="loop"} 2.0',
        'engine_use_total{engine="OpenAI",unit="tokens"} 1500.0',
        'engine_use_total{engine="Azure",unit="seconds"} 1.5',
        'engine_troubles_total{stage="stt"} 1.0',
        "rooms 2.0",
    ):
        assert f"mulisa_{line}" in page
    assert "mulisa_sessions 1.0" in page
    protocol = Path(__file__).parents[2] / "docs/protocol.md"
    rows = re.findall(r"^\| (`mulisa_[^|]+)", protocol.read_text(), re.MULTILINE)
    documented = [name for row in rows for name in re.findall(r"mulisa_\w+", row)]
    assert set(re.findall(r"# TYPE (mulisa_\w+)", page)) <= set(documented)

    _, later = run(GATEWAY.format(pid=pid), tmp_path)
    assert "mulisa_sessions 1.0" not in later, "a dead process is in no room"
    assert "mulisa_replies_total 2.0" in later, "but its replies were heard"


def test_the_gateway_loads_no_models_and_no_sdk_that_may_abort_it() -> None:
    code = """
import sys
import mulisa.server.gateway
heavy = {"livekit.rtc", "onnxruntime", "openai", "ctranslate2", "soxr", "jwt"} & set(sys.modules)
assert not heavy, heavy
assert "prometheus_client" not in sys.modules, "its folder is not set yet"
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
