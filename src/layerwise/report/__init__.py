"""One self-contained HTML page about a run: no network, no script, nothing but the run folder read."""

from __future__ import annotations

from layerwise.report.page import write_report

__all__ = ["write_report"]
