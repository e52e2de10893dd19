"""How a program that serves ends."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.network  # other processes

PROGRAM = """
import asyncio, signal, sys
from mulisa.serving import run_until_interrupted

async def main():
    try:
        print("serving", flush=True)
        await asyncio.get_running_loop().create_future()
    finally:
        await asyncio.sleep(0)
        print("said goodbye", flush=True)

if sys.argv[1] == "nohup":
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
run_until_interrupted(main())
"""


def start(how: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, how], stdout=-1, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "serving\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_in_order(number: signal.Signals) -> None:
    process = start("plain")
    process.send_signal(number)
    output, _ = process.communicate(timeout=10)
    assert (output, process.returncode) == ("said goodbye\n", 0)


def test_without_a_terminal_it_stays_when_the_terminal_goes() -> None:
    process = start("nohup")
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.5)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=10)[0] == "said goodbye\n"
