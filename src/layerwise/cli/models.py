"""`layerwise models`: every network, with facts."""

from __future__ import annotations

from typing import Any

from layerwise.cli import words


def run(json: words.Json = False) -> None:
    """List every network by name, with facts.

    Any other network of timm is timm:NAME.
    """
    from layerwise.models.by_task import TASK_MODELS
    from layerwise.models.table import MODELS

    rows = [
        {
            "name": entry.name,
            "input": entry.size,
            "channels": entry.channels,
            "parameters": entry.parameters,
            "top1": entry.top1,
            "licence": entry.licence,
            "offline": entry.wheel is not None,
            "weights": entry.source or None,
            "about": entry.about,
        }
        for entry in MODELS.values()
    ]
    others = {
        task: [{"name": row.name, "about": row.about} for row in table.values()] for task, table in TASK_MODELS.items()
    }
    if json:
        words.print_json({"models": rows, **others})
    else:
        _print(rows, others)


def _print(rows: list[dict[str, Any]], others: dict[str, list[dict[str, str]]]) -> None:
    print(f"{'name':<18} {'input':>9} {'parameters':>12} {'top-1':>6}  {'licence':<13} about")
    for row in rows:
        top1 = "" if row["top1"] is None else f"{row['top1']:.1f}"
        size = f"{row['input']}x{row['input']}x{row['channels']}"
        count = "" if row["parameters"] is None else f"{row['parameters']:,}"
        about = row["about"] + (" (weights also offline)" if row["offline"] else "")
        print(f"{row['name']:<18} {size:>9} {count:>12} {top1:>6}  {row['licence']:<13} {about}")
    print("\ntop-1: ImageNet accuracy in per cent of the pretrained weights. Any other network of timm: timm:NAME.")
    for task, table in others.items():
        print(f"\n{task} (auto tries several and keeps the best)")
        for row in table:
            print(f"{row['name']:<18} {row['about']}")
