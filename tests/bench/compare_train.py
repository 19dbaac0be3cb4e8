"""Runs every competitor of compare_train.sh in turns and prints one table.

  compare_train.py BENCHMARK WORK_DIR ROUNDS BATCH_SIZE
"""
import json
import os
import subprocess
import sys

benchmark, work, rounds, batch = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
here = os.path.dirname(os.path.abspath(__file__))


def run(command):
    """Standard output's lines, or None where the process failed."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    out, err = process.communicate()
    if process.returncode != 0:
        print(f"{' '.join(command)}: {err.strip().splitlines()[-1:] or process.returncode}")
        return None
    return out.splitlines()


def peak_mb(command):
    """As run, with the child's peak resident memory in MB and its CPU time in ms."""
    watcher = ("import resource,subprocess,sys;r=subprocess.run(sys.argv[1:]);"
               "u=resource.getrusage(resource.RUSAGE_CHILDREN);"
               "print('peak_kb',u.ru_maxrss,u.ru_utime+u.ru_stime);"
               "sys.exit(r.returncode)")
    lines = run([sys.executable, "-c", watcher] + command)
    if lines is None:
        return None, None
    last = [line.split() for line in lines if line.startswith("peak_kb")][0]
    lines = [line for line in lines if not line.startswith("peak_kb")]
    return lines, {"peak": int(last[1]) / 1000, "cpu": 1e3 * float(last[2])}


def ours(what, size, precision):
    """CPU time of a run: what more runs take over fewer, since a process also measures its ceilings."""
    cpu = []
    for runs in (2, 12) if what == "train" else (10, 50):
        row = ours_once(what, size, precision, runs)
        if row is None:
            return None
        cpu.append(row["cpu"])
    row["cpu"] = (cpu[1] - cpu[0]) / (10 if what == "train" else 40)
    return row


def ours_once(what, size, precision, runs):
    lines, peak = peak_mb([benchmark, f"--what={what}", "--model_name=efficientdet-d0", f"--batch_size={size}",
                           f"--precision={precision}", f"--bm_runs={runs}", "--json"])
    if lines is None:
        return None
    values = {}
    for line in lines:
        row = json.loads(line)
        if "what" in row:
            values[row["what"]] = row["value"]
    return {"best": values[f"{what} best"], "median": values[f"{what} median"], **peak}


def peer(environment, script, *arguments):
    python = os.path.join(work, environment, "bin", "python")
    if not os.path.exists(python):
        return None
    lines, peak = peak_mb([python, os.path.join(here, script)] + [str(a) for a in arguments])
    if lines is None:
        return None
    row = json.loads([line for line in lines if line.startswith("{")][-1])
    return {**row, "peak": peak["peak"]}


onnx = os.path.join(work, "d0.onnx")
training = {
    "edt cpu f32": lambda: ours("train", batch, "f32"),
    "edt cpu bf16": lambda: ours("train", batch, "bf16"),
    "TensorFlow 2.15 f32": lambda: peer("tensorflow", "d0_tensorflow.py", "train", batch),
    "PyTorch effdet f32": lambda: peer("torch", "d0_effdet.py", "train", batch),
}
inference = {
    "edt cpu f32": lambda: ours("network", 1, "f32"),
    "edt cpu bf16": lambda: ours("network", 1, "bf16"),
    "ONNX Runtime f32": lambda: peer("runtimes", "d0_runtimes.py", "onnxruntime", onnx, "f32"),
    "OpenVINO f32": lambda: peer("runtimes", "d0_runtimes.py", "openvino", onnx, "f32"),
    "OpenVINO bf16": lambda: peer("runtimes", "d0_runtimes.py", "openvino", onnx, "bf16"),
    "TensorFlow 2.15 f32": lambda: peer("tensorflow", "d0_tensorflow.py", "infer", 1),
    "PyTorch effdet f32": lambda: peer("torch", "d0_effdet.py", "infer", 1),
}


def table(title, competitors, per_second):
    results = {}
    for _ in range(rounds):
        for name, measure in competitors.items():
            row = measure()
            if row is None:
                continue
            best = results.setdefault(name, dict(row))
            best["best"] = min(best["best"], row["best"])
            best["median"] = min(best["median"], row["median"])
            best["cpu"] = min(best["cpu"], row["cpu"])
            best["peak"] = max(best["peak"], row["peak"])
    print(f"\n| {title} | ms, best of all rounds | ms, best round's median | images/s | CPU ms | peak MB |")
    print("|---|---|---|---|---|---|")
    for name, row in results.items():
        print(f"| {name} | {row['best']:.1f} | {row['median']:.1f} | {1e3 * per_second / row['best']:.2f} |"
              f" {row['cpu']:.0f} | {row['peak']:.0f} |")
    print(flush=True)


table(f"D0 512x512, training step, batch {batch}", training, batch)
table("D0 512x512, network, batch 1", inference, 1)
