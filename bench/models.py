#!/usr/bin/env python3
"""Every reduced model of models/ on the same synthetic recordings: trained, predicted, scored.

    bench/models.py [NPC]        default: build/npc

    MODELS   files (models/demo.nm models/*_demo.nm models/mix_*.nm)
    FILMS, IMAGES   options of `npc data synth` (those of README.md)
    TRAIN    more options of training, for example --set stage.train=1epochs
    WORK     folder that keeps recordings and runs; a run that is there is not trained again
    OUT      folder of the results (bench/results)      NAME   of them (<date>-models)

Models of films see one pair of recordings, those of images (`clip(1 frames)`) another one. A step is
timed from the log, validation and saving left out by the median; peak memory is that of the training
process. Scores are of responses as recorded, beside the linear floor that `npc data synth` states.
Writes OUT/NAME.md, .json and .svg. Needs nothing but the standard library.
"""

import array
import datetime
import glob
import json
import math
import os
import re
import shlex
import statistics
import subprocess
import sys
import tempfile

FILMS = "--mice 2 --neurons 100 --trials 150"
IMAGES = "--images --mice 1 --neurons 100 --trials 1000"


def call(*words):
    """What a command prints, and the most memory that it held in MB."""
    print("+", *words, file=sys.stderr, flush=True)
    child = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    text = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"{' '.join(words)}: failed")
    return text, usage.ru_maxrss * 1024 / 1e6


def make_recordings(npc, work, kind):
    folder = os.path.join(work, kind)
    if not os.path.exists(os.path.join(folder, "truth")):
        options = os.environ.get(kind.upper(), FILMS if kind == "films" else IMAGES)
        call(npc, "data", "synth", folder, *shlex.split(options))
    return folder


def mean_of_npy(path):
    """Of a vector of float64."""
    with open(path, "rb") as f:
        data = f.read()
    begin = 10 + int.from_bytes(data[8:10], "little")
    return statistics.mean(array.array("d", data[begin:]))


def floor_of(folder, tier):
    """Means over recordings of what ridge regression reaches: single trial, to average."""
    found = [glob.glob(os.path.join(folder, "truth", "*", "ceiling", f"{tier}_linear_{k}.npy"))
             for k in ("single_trial", "to_average")]
    return [statistics.mean(map(mean_of_npy, paths)) for paths in found]


def step_ms(run):
    with open(os.path.join(run, "log.jsonl")) as f:
        rows = [json.loads(line) for line in f]
    times = [r["time"] for r in rows if r["kind"] == "train"]
    return 1e3 * statistics.median(b - a for a, b in zip(times, times[1:])), times[-1]


def measure(npc, work, path):
    """One row of the table."""
    name = os.path.splitext(os.path.basename(path))[0]
    with open(path) as f:
        is_image = "clip(1 frames)" in f.read()
    kind, tier = ("images", "final_test") if is_image else ("films", "final_test_main")
    data, run = make_recordings(npc, work, kind), os.path.join(work, "runs", name)
    memory = os.path.join(run, "peak_mb")
    if not os.path.exists(memory):
        words = shlex.split(os.environ.get("TRAIN", ""))
        _, peak = call(npc, "run", path, "--train", "--data", data, "--run", run, *words)
        with open(memory, "w") as f:
            f.write(f"{peak:.1f}")
    with open(memory) as f:
        peak = float(f.read())
    scores, _ = call(npc, "run", run, "--predict", "--weights", "best", "--score", "--as-recorded",
                     "--json", "--tier", tier, "--progress", "quiet")
    rows = json.loads(scores)["recordings"]
    text, _ = call(npc, "compile", os.path.join(run, "model.nm"))
    ms, seconds = step_ms(run)
    floor = floor_of(data, tier)
    return {
        "model": name, "recordings": kind,
        "parameters": int(re.search(r"^parameters\s+([\d ]+) in", text, re.M)[1].replace(" ", "")),
        "step_ms": ms, "training_s": seconds, "peak_mb": peak,
        "single_trial": statistics.mean(r["single_trial"] for r in rows),
        "to_average": statistics.mean(r["to_average"] for r in rows),
        "floor_single_trial": floor[0], "floor_to_average": floor[1],
    }


def table(rows, name, version):
    lines = [
        f"# Reduced models on the same recordings: {name}", "",
        f"{version}, {os.cpu_count()} processors. Correlations are means over recordings on held-out films or images, "
        "responses as recorded; the linear floor is what ridge regression from pixels and state reaches.", "",
        "| model | recordings | parameters | ms per step | training s | peak memory MB "
        "| single trial (floor) | to average (floor) |", "|---|---|---|---|---|---|---|---|"]
    for r in rows:
        lines.append(
            f"| `{r['model']}` | {r['recordings']} | {r['parameters']:,} | {r['step_ms']:.1f} "
            f"| {r['training_s']:.0f} | {r['peak_mb']:.0f} "
            f"| {r['single_trial']:.3f} ({r['floor_single_trial']:.3f}) "
            f"| {r['to_average']:.3f} ({r['floor_to_average']:.3f}) |")
    return "\n".join([*lines, "", f"![score over time of a step]({name}.svg)", "",
                      "`bench/models.py` wrote this.", ""])


def picture(rows):
    """A dot per model: single-trial score over the time of a step; lines are the floors."""
    width, height, left, bottom = 720, 400, 60, 50
    low = math.floor(math.log10(min(r["step_ms"] for r in rows)))
    high = math.ceil(math.log10(max(r["step_ms"] for r in rows)) + 1e-9)
    top = max(max(r["single_trial"], r["floor_single_trial"]) for r in rows) * 1.15
    color = {"films": "#1f77b4", "images": "#d95f02"}

    def x_of(ms):
        return left + (math.log10(ms) - low) / (high - low) * (width - left - 130)

    def y_of(score):
        return height - bottom - max(score, 0) / top * (height - bottom - 20)

    def text(x, y, words, more=""):
        return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{words}</text>'

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
           'font-family="sans-serif" font-size="12">', '<rect width="100%" height="100%" fill="white"/>',
           f'<path d="M{left} 20V{height - bottom}H{width - 130}" fill="none" stroke="black"/>',
           text(width / 2 - 40, height - 12, "ms per training step", 'text-anchor="middle"'),
           text(16, height / 2, "single-trial correlation",
                f'text-anchor="middle" transform="rotate(-90 16 {height / 2})"')]
    for e in range(low, high + 1):
        out.append(text(x_of(10 ** e), height - bottom + 16, f"{10 ** e:g}", 'text-anchor="middle"'))
    for k in range(5):
        score = top * k / 4
        out.append(text(left - 6, y_of(score) + 4, f"{score:.2f}", 'text-anchor="end"'))
    for kind in sorted({r["recordings"] for r in rows}):
        score = next(r["floor_single_trial"] for r in rows if r["recordings"] == kind)
        out.append(f'<path d="M{left} {y_of(score):.1f}H{width - 130}" stroke="{color[kind]}" '
                   'stroke-dasharray="5 4"/>')
        out.append(text(width - 126, y_of(score) + 4, f"linear, {kind}", f'fill="{color[kind]}"'))
    for r in rows:
        x, y = x_of(r["step_ms"]), y_of(r["single_trial"])
        out.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{color[r["recordings"]]}"/>')
        out.append(text(x + 8, y - 4, r["model"]))
    return "\n".join([*out, "</svg>", ""])


def main():
    npc = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "build/npc")
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    models = os.environ.get("MODELS", "models/demo.nm models/*_demo.nm models/mix_*.nm").split()
    models = [path for pattern in models for path in sorted(glob.glob(pattern))]
    out = os.environ.get("OUT", "bench/results")
    name = os.environ.get("NAME", datetime.date.today().isoformat() + "-models")
    with tempfile.TemporaryDirectory() as scratch:
        work = os.environ.get("WORK", scratch)
        os.makedirs(work, exist_ok=True)
        rows = [measure(npc, work, path) for path in models]
    version = call(npc, "--version")[0].splitlines()[0]
    os.makedirs(out, exist_ok=True)
    for suffix, text in (("md", table(rows, name, version)), ("svg", picture(rows)),
                         ("json", json.dumps({"version": version, "models": rows}, indent=1) + "\n")):
        with open(os.path.join(out, f"{name}.{suffix}"), "w") as f:
            f.write(text)
    print(table(rows, name, version), end="")


main()
