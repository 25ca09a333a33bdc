"""Keeping what a frozen network gives, beside recomputing it: ours, our own recompute, and five peers, in one run.

`python -m benchmarks frozen [--quick] [--parts time,accuracy,memory] [--epochs N] [--rounds R] [TF_PYTHON [PEERS]]`

The parts:

* **time**: EfficientNet-B0 on 2,000 photographs at 224 pixels, 10 epochs of the head, then `THAW` epochs of head and
  last fifth. Its weights are random (calibrated so that activations have ordinary sizes), the same in all but Keras.
* **accuracy**: the same with EfficientNet-Lite0 and its ImageNet weights, which Keras does not have; always all epochs.
* **memory**: ResNet-50 with what layer3 gives kept for 2,000 images, under a cap of 2 GB.

Contenders run one after another, each in a process of its own with all cores, `--rounds` times over; the middle round
counts. A clock starts when everything is imported, and covers reading, compiling, caching; ours also validates after
each epoch, evaluates and writes its report within it, the peers do none of that. Who recomputes repeats the same epoch
over and over: `--epochs N` (3, or 0 for all) measures N of each stage and counts the others at the median of the later
ones; the table says so. Ours, with keeping, is always measured whole.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.common import DATA, scratch, value, versions

HEAD, THAW, BATCH = 10, 6, 32
MEANT = "efficientnet_lite0"  # whose weights mean something, so that accuracies do
CAP = 2 * 1024**3
PEERS = Path(__file__).with_name("peers")
RECOMPUTE = {"keep": False, "engine": "torch"}

# Clocks of the peers start after their imports as well.
OURS = """
import json, sys, time
import layerwise, timm, torch, torchvision
words = json.loads(sys.argv[1])
train = layerwise.train  # which imports what it needs, as the peers have by now
began = time.perf_counter()
run = train(words["data"], model=words["model"], out=words["out"], recipe=words["recipe"])
print(json.dumps({"seconds": time.perf_counter() - began}))
"""

# As above, with a cap on memory and a look at its own pages 20 times a second.
CAPPED = """
import json, os, resource, sys, threading, time
words = json.loads(sys.argv[1])
if words["group"]:
    with open(os.path.join(words["group"], "cgroup.procs"), "w") as file:
        file.write(str(os.getpid()))
else:
    resource.setrlimit(resource.RLIMIT_DATA, (words["cap"], words["cap"]))
peak = {}
def look():
    with open("/proc/self/status") as file:
        lines = dict(line.split(":", 1) for line in file)
    for name in ("VmHWM", "RssAnon", "RssFile", "VmData"):
        peak[name] = max(peak.get(name, 0), int(lines[name].split()[0]) * 1024)
def watch():
    while True:
        look()
        time.sleep(0.05)
threading.Thread(target=watch, daemon=True).start()
import layerwise
run = layerwise.train(words["data"], model=words["model"], out=words["out"], recipe=words["recipe"])
look()
print(json.dumps(peak))
"""


@dataclass(frozen=True)
class Found:
    """What one contender took: seconds of the head alone, of head and thaw together, and how they were counted."""

    name: str
    head: float
    both: float
    how: str
    accuracy: float | None


@dataclass(frozen=True)
class Plan:
    """How much is run."""

    head: int
    thaw: int
    measured: int  # epochs of each stage, of contenders that recompute

    def few(self) -> tuple[int, int]:
        """Epochs that a contender that recomputes is run for."""
        return min(self.head, self.measured or self.head), min(self.thaw, self.measured or self.thaw)

    def how(self) -> str:
        """The words of the table for a contender that recomputes."""
        head, thaw = self.few()
        if (head, thaw) == (self.head, self.thaw):
            return "measured"
        return f"{head} of {self.head} and {thaw} of {self.thaw} epochs measured"


# The images


def photographs(place: Path, train: int) -> Path:
    """Lay out flowers as train/, val/ and test/: 100, 20 and 40 photographs a class, no photograph in two parts.

    The training ones are repeated with small changes (another tenth or so of the frame cut away) until there are
    `train` different files; of fewer than 500, the first are taken. The choice is the same every time.
    """
    draw = np.random.default_rng(0)
    folders = sorted(folder for folder in (DATA / "flowers").iterdir() if folder.is_dir())
    for folder in folders:
        files = sorted(folder.glob("*.jpg"))
        files = [files[number] for number in draw.permutation(len(files))]
        for part, chosen in (("test", files[:40]), ("val", files[40:60])):
            _into(place / part / folder.name)
            for file in chosen:
                (place / part / folder.name / file.name).symlink_to(file)
        _into(place / "train" / folder.name)
        sources = files[60:]
        for number in range(train // len(folders)):
            target = place / "train" / folder.name / f"{number:04}.jpg"
            _changed(sources[number % len(sources)], number // len(sources), target)
    return place


def _changed(source: Path, change: int, target: Path) -> None:
    """Change 0 is the photograph itself, the others cut away something of it."""
    if change == 0:
        target.symlink_to(source)
        return
    with Image.open(source) as opened:
        picture = opened.convert("RGB")
    share, left, top = ((0.92, 0.0, 0.0), (0.92, 1.0, 1.0), (0.85, 0.5, 0.5))[(change - 1) % 3]
    width, height = round(picture.width * share), round(picture.height * share)
    x, y = round((picture.width - width) * left), round((picture.height - height) * top)
    picture.crop((x, y, x + width, y + height)).save(target, quality=95)


def _into(folder: Path) -> None:
    folder.mkdir(parents=True)


# Random weights where ImageNet's would be


def random_hub(place: Path, data: Path, *names: str) -> dict[str, str]:
    """A hub's cache with random weights of these networks, and the environment in which layerwise reads it.

    So that a network runs exactly as a pretrained one does, on a machine that cannot fetch its weights. The statistics
    of batch normalisation are those of 16 of the photographs: without any, activations of a random network fade towards
    nothing, and with those of noise a photograph's grow until float32 no longer holds their digits.
    """
    import timm
    import torch
    from safetensors.torch import save_file

    from layerwise.models import find_model

    for name in names:
        source = find_model(name).source
        torch.manual_seed(0)
        network = timm.create_model(source, pretrained=False)
        for layer in network.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = 1.0
        with torch.no_grad():
            network.train()(_some(data))
        cfg = timm.get_pretrained_cfg(source)
        folder = place / f"models--{cfg.hf_hub_id.replace('/', '--')}"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text("random")
        (folder / "snapshots" / "random").mkdir(parents=True)
        save_file(network.state_dict(), folder / "snapshots" / "random" / "model.safetensors")
    return {"HF_HUB_CACHE": str(place), "HF_HUB_OFFLINE": "1"}


def _some(data: Path) -> Any:
    """16 photographs, normalised, (16, 3, 224, 224)."""
    import torch

    files = sorted((data / "train").glob("*/*.jpg"))
    pixels = np.stack(
        [np.asarray(Image.open(file).convert("RGB").resize((224, 224))) for file in files[:: len(files) // 16][:16]]
    )
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (images - mean[:, None, None]) / std[:, None, None]


# The contenders


def child(command: Sequence[str], environment: Mapping[str, str]) -> dict[str, Any] | None:
    """What a process says in its last line; of one that fails, nothing, and its last words are shown."""
    quiet = {**os.environ, "PYTHONWARNINGS": "ignore", **environment}
    began = time.perf_counter()
    found = subprocess.run(command, capture_output=True, text=True, env=quiet, check=False)
    if found.returncode:
        said = " | ".join(found.stderr.strip().splitlines()[-3:]) or "nothing"
        print(f"  failed ({found.returncode}): {said}", flush=True)
        return None
    answer: dict[str, Any] = json.loads(found.stdout.strip().splitlines()[-1])
    answer["process"] = time.perf_counter() - began
    return answer


def longer(laps: Sequence[float], epochs: int) -> float:
    """Seconds of a stage of `epochs` of which the first were measured."""
    usual = statistics.median(laps[1:] or laps)
    return sum(laps) + (epochs - len(laps)) * usual


def peer(python: str, script: str, data: Path, model: str, plan: Plan, environment: Mapping[str, str]) -> Found | None:
    """Run a peer's script by its own Python."""
    head, thaw = plan.few()
    words = [str(data), str(head), str(thaw), str(BATCH), model]
    answer = child([python, str(PEERS / script), *words], environment)
    if answer is None:
        return None
    print(f"  {answer['peer']}: {answer['versions']}; {answer['process']:.0f} s with its start", flush=True)
    first = longer(answer["epochs"]["head"], plan.head)
    both = first + longer(answer["epochs"]["thaw"], plan.thaw)
    whole = (head, thaw) == (plan.head, plan.thaw)
    return Found(answer["peer"], first, both, plan.how(), answer["accuracy"] if whole else None)


def stages(head: int, thaw: int) -> list[dict[str, Any]]:
    """Stages of a recipe: the head, then the last fifth of the body with it, at the rates of our own defaults."""
    first = {"name": "head", "epochs": head, "learning_rate": 5e-3, "share": 0.0}
    last = {"name": "last", "epochs": thaw, "learning_rate": 2e-4, "share": 0.2}
    return [first, last] if thaw else [first]


def train(data: Path, model: str, recipe: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any] | None:
    """`layerwise.train` in a fresh process with a fresh cache: {"seconds", "metrics", "log"}."""
    with scratch() as place:
        words = {"data": str(data), "model": model, "out": str(place / "run"), "recipe": recipe}
        cache = {"LAYERWISE_CACHE": str(place / "cache")}
        answer = child([sys.executable, "-c", OURS, json.dumps(words)], {**environment, **cache})
        if answer is None:
            return None
        answer["metrics"] = json.loads((place / "run" / "metrics.json").read_text())
        answer["log"] = [json.loads(line) for line in (place / "run" / "log.jsonl").read_text().splitlines()]
    return answer


def trained(answer: Mapping[str, Any]) -> float:
    """Seconds without those on the reported part, its baselines and suspect labels, of which peers do nothing."""
    parts = answer["metrics"]["seconds"]
    return float(answer["seconds"] - sum(parts[name] for name in ("test", "baselines", "labels")))


def ours(data: Path, model: str, plan: Plan, environment: Mapping[str, str]) -> Found | None:
    """Keeping, measured whole: a run of the head alone, and another of head and thaw, each from an empty cache."""
    first = train(data, model, {"stages": stages(plan.head, 0)}, environment)
    both = first and train(data, model, {"stages": stages(plan.head, plan.thaw)}, environment)
    if not (first and both):
        return None
    print(f"  ours: head alone {value(first['metrics']):.4f}, with thaw {value(both['metrics']):.4f}", flush=True)
    print(f"  ours, of it not spent on judging: {trained(first):.1f} s, with thaw {trained(both):.1f} s", flush=True)
    return Found("ours, kept", first["seconds"], both["seconds"], "measured, two cold runs", value(both["metrics"]))


def recomputed(data: Path, model: str, plan: Plan, environment: Mapping[str, str]) -> Found | None:
    """The same recipe with nothing kept and PyTorch as the engine."""
    head, thaw = plan.few()
    recipe = {"stages": stages(head, thaw), "frozen": RECOMPUTE}
    answer = train(data, model, recipe, environment)
    if answer is None:
        return None
    laps: dict[str, list[float]] = {"head": [], "last": []}
    for line in answer["log"]:
        laps[line["stage"]].append(line["seconds"]["train"] + line["seconds"]["valid"])
    rest = answer["seconds"] - sum(map(sum, laps.values()))
    first = rest + longer(laps["head"], plan.head)
    both = first + longer(laps["last"], plan.thaw)
    whole = (head, thaw) == (plan.head, plan.thaw)
    return Found("ours, recomputed", first, both, plan.how(), value(answer["metrics"]) if whole else None)


# The parts


def compare(
    data: Path, model: str, plan: Plan, rounds: int, pythons: Mapping[str, str | None], environment: Mapping[str, str]
) -> None:
    """Every contender in turn, `rounds` times over, and a table."""
    runs: dict[str, list[Found]] = {}
    scripts = [("tensorflow", "keras_frozen.py")] if model != MEANT else []
    scripts += [("peers", f"{name}_frozen.py") for name in ("torch", "lightning", "fastai")]
    scripts = [(kind, script) for kind, script in scripts if pythons[kind]]
    for number in range(rounds):
        print(f"{model}, round {number + 1} of {rounds}:", flush=True)
        turns = [ours(data, model, plan, environment), recomputed(data, model, plan, environment)]
        turns += [peer(str(pythons[kind]), script, data, model, plan, environment) for kind, script in scripts]
        for found in turns:
            if found:
                runs.setdefault(found.name, []).append(found)
    table(runs, plan, accuracies=model == MEANT)


def table(runs: Mapping[str, Sequence[Found]], plan: Plan, *, accuracies: bool) -> None:
    """A line a contender: the middle of the rounds, how many times as long as ours, the accuracy with its interval."""
    middle = {name: sorted(found, key=lambda one: one.both)[len(found) // 2] for name, found in runs.items()}
    own = middle.get("ours, kept")
    print(f"{'':<28} {f'head, {plan.head} epochs':>20} {f'and thaw, {plan.thaw} epochs':>22}  accuracy")
    for name, found in middle.items():
        times = (f"({found.head / own.head:5.1f}x)", f"({found.both / own.both:5.1f}x)") if own else ("", "")
        right = (
            ""
            if found.accuracy is None or not accuracies
            else f"{found.accuracy:.4f} +- {wilson(found.accuracy, 200):.4f}"
        )
        print(f"{name:<28} {found.head:10.1f} s {times[0]} {found.both:12.1f} s {times[1]}  {right:<18} {found.how}")
    for name, found in runs.items():
        if len(found) > 1:
            ends = [one.both for one in found]
            print(f"  {name}: head and thaw {min(ends):.1f} to {max(ends):.1f} s over {len(ends)} rounds")


def wilson(share: float, count: int, z: float = 1.96) -> float:
    """Half the width of Wilson's 95 % interval of a share of `count`."""
    return z / (1 + z * z / count) * float(np.sqrt(share * (1 - share) / count + z * z / (4 * count * count)))


def memory(data: Path, environment: Mapping[str, str], cap: int, group: str | None) -> None:
    """ResNet-50 under a cap on memory: layer3's output kept for every image, layer4 and the head trained from it.

    Args:
        data: the photographs.
        environment: where the weights are.
        cap: in bytes.
        group: a memory control group with the cap, made by whoever runs this, for a cap on resident pages with the
            page cache among them. Without one the kernel caps private memory (RLIMIT_DATA), reserved or resident.
    """
    if group:
        allowed = int(_limit(Path(group)).read_text())
        assert allowed <= cap, f"{group} allows {allowed:,} bytes"
    recipe = {
        "augment": {"flip": False},  # one view: about 0.8 GB for 2,000 images
        "stages": [
            {"name": "head", "epochs": 1, "learning_rate": 5e-3, "share": 0.0},
            {"name": "layer4", "epochs": 2, "learning_rate": 2e-4, "share": 0.19},  # 20 of 106 layers
        ],
    }
    with scratch() as place:
        words = {"data": str(data), "model": "resnet50", "out": str(place / "run"), "recipe": recipe}
        words |= {"cap": cap, "group": group}
        began = time.perf_counter()
        fresh = {**environment, "LAYERWISE_CACHE": str(place / "cache")}
        peak = child([sys.executable, "-c", CAPPED, json.dumps(words)], fresh)
        took = time.perf_counter() - began
        kept = sum(file.stat().st_size for file in (place / "cache").rglob("*") if file.is_file())
    kind = f"control group {group}" if group else "RLIMIT_DATA"
    print(f"memory: resnet50, cap {cap / 1e9:.2f} GB by {kind}, {took:.0f} s, {kept / 1e9:.2f} GB in the cache")
    if peak is None:
        print("memory: did not finish")
        return
    parts = {"VmHWM": "resident", "RssAnon": "anonymous", "RssFile": "of files", "VmData": "private, reserved"}
    print("memory: peak " + ", ".join(f"{peak[name] / 1e6:,.0f} MB {word}" for name, word in parts.items()))
    if group and (seen := _peak(Path(group))):
        print(f"memory: peak of the control group {seen / 1e6:,.0f} MB, page cache among it")


def _limit(group: Path) -> Path:
    new = group / "memory.max"
    return new if new.exists() else group / "memory.limit_in_bytes"


def _peak(group: Path) -> int | None:
    for name in ("memory.peak", "memory.max_usage_in_bytes"):
        if (group / name).exists():
            return int((group / name).read_text())
    return None


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks frozen")
    parser.add_argument("--quick", action="store_true", help="300 images, 2 and 1 epochs: does everything run?")
    parser.add_argument("--parts", default="time,accuracy,memory")
    parser.add_argument("--epochs", type=int, default=3, help="measured of a stage that recomputes; 0 is all")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--cap", type=float, default=CAP / 1024**3, help="GiB, for the part memory")
    parser.add_argument("--group", help="a memory control group with that limit, instead of RLIMIT_DATA")
    parser.add_argument("tensorflow", nargs="?", help="the Python that has Keras on TensorFlow; left out without one")
    parser.add_argument("peers", nargs="?", help="the Python that has timm, Lightning, fastai and layerwise")
    asked = parser.parse_args(words)
    plan = Plan(2, 1, 0) if asked.quick else Plan(HEAD, THAW, asked.epochs)
    pythons = {"tensorflow": asked.tensorflow, "peers": asked.peers}
    print(versions("timm", "openvino", "onnxruntime"))
    with scratch() as place:
        began = time.perf_counter()
        data = photographs(place / "data", 300 if asked.quick else 2000)
        environment = random_hub(place / "hub", data, "efficientnet_b0", "resnet50")
        print(f"photographs and random weights made in {time.perf_counter() - began:.0f} s", flush=True)
        for part in asked.parts.split(","):
            if part == "time":
                compare(data, "efficientnet_b0", plan, asked.rounds, pythons, environment)
            elif part == "accuracy":
                compare(data, MEANT, Plan(plan.head, plan.thaw, 0), asked.rounds, pythons, environment)
            elif part == "memory":
                memory(data, environment, round(asked.cap * 1024**3), asked.group)
            else:
                parser.error(f"there is no part {part}")
