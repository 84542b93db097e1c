"""Puts what bench/gpu.sh measured into one JSON file and one table.

usage: summarise_gpu.py FOLDER RESULT_WITHOUT_SUFFIX
"""

import json
import os
import re
import sys

from summarise import commit

PROGRAMS = (("step", "train", "Training step"), ("predict", "eval", "Evaluation"))


def read_text(folder, name):
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        return ""
    with open(path) as f:
        return f.read().strip()


def read_json(folder, name):
    text = read_text(folder, name)
    return json.loads(text) if text else None


def read_steps(folder):
    """[{name, code, seconds}] of everything that was tried; code 0 is well."""
    rows = [line.split("\t") for line in read_text(folder, "steps.tsv").splitlines()]
    return [{"name": name, "code": code, "seconds": int(seconds)} for name, code, seconds in rows]


def read_peers(folder, mode):
    """{setting: the line of numbers that the peer printed}"""
    found = {}
    for name in sorted(os.listdir(folder)):
        match = re.fullmatch(rf"peer\.{mode}\.(.+)\.txt", name)
        lines = [x for x in read_text(folder, name).splitlines() if x.startswith("{")] if match else []
        if lines:
            found[match[1]] = json.loads(lines[-1])
    return found


def outcome(code):
    if code == "0":
        return "ok"
    return {"124": "not done in time"}.get(code, code if code.startswith("no ") else f"exit code {code}")


def check_table(steps, prefix, title, lines):
    rows = [s for s in steps if s["name"].startswith(prefix)]
    if not rows:
        return
    lines += [f"## {title}", "", "| | |", "|---|---|"]
    lines += [f"| {s['name'][len(prefix):].lstrip('.') or title} | {outcome(s['code'])} |" for s in rows]
    lines.append("")


def levels_of(bench):
    return bench["programs"][0]["levels"] if bench else []


def time_table(bench, own, peers, lines):
    """npc's levels, and without cuBLAS, beside PyTorch's settings."""
    levels = levels_of(bench)
    eager = min((p["median_s"] for k, p in peers.items() if k.startswith("eager")), default=None)
    compiled = min((p["median_s"] for k, p in peers.items() if k.startswith("compiled")), default=None)
    lines += ["| | median ms | min - max ms | peak memory GB | times as fast as eager | as compiled |",
              "|---|---|---|---|---|---|"]
    for level, what in [(x, "") for x in levels] + [(x, ", no cuBLAS") for x in levels_of(own)]:
        t = level["seconds"]
        ratio = [f"{best / t['median']:.2f}" if best else "" for best in (eager, compiled)]
        memory = sum(level["memory_bytes"].values())
        lines.append(f"| npc, fuse {level['fuse']}{what} | {1e3 * t['median']:.2f} | {1e3 * t['min']:.2f} - "
                     f"{1e3 * t['max']:.2f} | {memory * 1e-9:.1f} | {ratio[0]} | {ratio[1]} |")
    for setting, p in peers.items():
        lines.append(f"| PyTorch {p['torch']}, {setting} | {1e3 * p['median_s']:.2f} | "
                     f"{1e3 * p['min_s']:.2f} - {1e3 * p['max_s']:.2f} | {p['peak_bytes'] * 1e-9:.1f} | | |")
    lines.append("")
    if len(levels) > 1:
        ratio = levels[-1]["seconds"]["median"] / levels[0]["seconds"]["median"]
        lines += [f"{levels[0]['fuse']} is {ratio:.2f} times as fast as {levels[-1]['fuse']}.", ""]


def kernel_table(level, lines, most=25):
    lines += [f"| slowest kernels, fuse {level['fuse']} | ms | MB | GB/s | GFLOP/s | share of its roof |",
              "|---|---|---|---|---|---|"]
    launches = sorted(level["launches"], key=lambda k: -k["seconds"]["median"])
    for k in launches[:most]:
        t = k["seconds"]["median"] or float("nan")
        lines.append(f"| {k['kernel']} | {1e3 * t:.3f} | {k['bytes'] * 1e-6:.1f} | {k['bytes'] / t * 1e-9:.0f} | "
                     f"{k['flops'] / t * 1e-9:.0f} | {100 * k['roof_share']:.0f} % |")
    lines.append("")


def main():
    folder, result = sys.argv[1:]
    steps = read_steps(folder)
    benches = {name: read_json(folder, f"bench.{name}.json")
               for program, _, _ in PROGRAMS for name in (program, program + ".own")}
    peers = {mode: read_peers(folder, mode) for _, mode, _ in PROGRAMS}
    machine = next((b["machine"] for b in benches.values() if b), {})
    lines = [f"# {os.path.basename(result)}", "",
             f"{read_text(folder, 'gpu.txt').splitlines()[:1]}, {read_text(folder, 'version.txt')}, "
             f"commit {commit()}.", ""]
    if machine:
        lines += ["Measured here: " + ", ".join(f"{k.replace('_', ' ')} {v:.4g}" for k, v in machine.items()
                                                if isinstance(v, float)) + ".", ""]
    for program, mode, title in PROGRAMS:
        bench = benches[program]
        if not bench and not peers[mode]:
            continue
        lines += [f"## {title}", ""]
        if bench:
            p = bench["programs"][0]
            lines += [f"Batch {p['batch']}, {p['recordings']} recordings, {p['levels'][0]['target']}.", ""]
        time_table(bench, benches[program + ".own"], peers[mode], lines)
        for level in bench["programs"][0]["levels"][:1] if bench else []:
            kernel_table(level, lines)
    check_table(steps, "verify", "Reference numbers", lines)
    check_table(steps, "sanitize", "compute-sanitizer", lines)
    lines += ["## Everything that ran", "", "| | | s |", "|---|---|---|"]
    lines += [f"| {s['name']} | {outcome(s['code'])} | {s['seconds']} |" for s in steps]
    lines += ["", "`bench/gpu.sh` wrote this; all numbers are in the JSON file beside it."]
    with open(result + ".md", "w") as f:
        f.write("\n".join(lines) + "\n")
    with open(result + ".json", "w") as f:
        json.dump({"gpu": read_text(folder, "gpu.txt"), "version": read_text(folder, "version.txt"),
                   "commit": commit(), "steps": steps, "npc": benches, "pytorch": peers}, f, indent=1)
        f.write("\n")


if __name__ == "__main__":
    main()
