"""Check 2 of the reliability programme, for the store alone: 300 kills at random moments bound the rate below 1 %."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

DRIVER = Path(__file__).parent / "kill_driver.py"
KILLS = 300


def test_a_saving_process_killed_at_random_loses_nothing_it_announced() -> None:
    done = subprocess.run(
        [sys.executable, str(DRIVER), "--kills", str(KILLS), "--seed", "7"],
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    figures = json.loads(done.stdout)
    assert figures["kills"] == KILLS
    assert figures["lost"] == figures["bad"] == 0
    assert figures["within_a_save"] >= KILLS // 10, "most kills missed the saves, so this shows little"
    sys.stdout.write(f"{figures}\n")
