"""Times COCO evaluators against each other, one process each, in rounds; see compare_coco_eval.sh.

usage: compare_coco_eval.py COCO_EVAL DATA_DIR N_ROUNDS
       compare_coco_eval.py --peer=NAME GT DT     (one run; prints seconds and the twelve numbers as JSON)

A peer's time runs from before it opens the files until its summary, without Python's start and imports;
coco_eval's is that of the whole process. Peers may use 2 threads. The peak of resident memory is the
kernel's figure for the process.
"""
import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

# package on PyPI: module, class of the evaluation
PEERS = {"pycocotools": ("pycocotools", "COCOeval"),
         "faster-coco-eval": ("faster_coco_eval", "COCOeval_faster"),
         "hotcoco": ("hotcoco", "COCOeval"),
         "ultrafast-pycocotools": ("ultrafast_pycocotools", "COCOeval")}


def run_peer(name, gt_path, dt_path):
    # pylint: disable=import-outside-toplevel
    module, evaluation = PEERS[name]
    if name == "pycocotools":
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    else:
        package = __import__(module)
        COCO, COCOeval = package.COCO, getattr(package, evaluation)
    with contextlib.redirect_stdout(io.StringIO()):
        begin = time.perf_counter()
        gt = COCO(gt_path)
        dt = gt.loadRes(dt_path)
        e = COCOeval(gt, dt, "bbox")
        e.evaluate()
        e.accumulate()
        e.summarize()
        seconds = time.perf_counter() - begin
    print(json.dumps({"seconds": seconds, "stats": [float(v) for v in list(e.stats)[:12]]}))


def run_process(command, environment):
    """Wall seconds, CPU seconds, peak bytes and output of a process of its own."""
    with tempfile.TemporaryFile() as out:
        begin = time.perf_counter()
        child = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - begin
        out.seek(0)
        text = out.read().decode(errors="replace")
    if status != 0:
        raise RuntimeError(text.strip().splitlines()[-1] if text.strip() else "exit %d" % status)
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, text


class Row:
    def __init__(self, name):
        self.name, self.walls, self.cpus, self.peak, self.stats, self.failure = name, [], [], 0, None, ""


def measure(row, command, result_path, environment):
    try:
        wall, cpu, peak, text = run_process(command, environment)
    except RuntimeError as error:
        row.failure = str(error)
        return
    if result_path is None:
        result = json.loads(text.strip().splitlines()[-1])
        wall = result["seconds"]
    else:
        with open(result_path) as f:
            result = json.load(f)
    row.walls.append(wall)
    row.cpus.append(cpu)
    row.peak = max(row.peak, peak)
    row.stats = result["stats"]


def describe_equality(row, reference):
    if reference is None or reference.stats is None:
        return "?"
    if row is reference:
        return "reference"
    differences = [abs(a - b) for a, b in zip(row.stats, reference.stats)]
    return "equal" if row.stats == reference.stats else "differ by %.1g" % max(differences)


def main():
    program, folder, n_rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    gt, dt = (os.path.join(folder, name) for name in ("gt.json", "dt.json"))
    environment = dict(os.environ, RAYON_NUM_THREADS="2", OMP_NUM_THREADS="2", OMP_WAIT_POLICY="passive")
    ours = {n: Row("coco_eval, %d thread%s" % (n, "s" if n > 1 else "")) for n in (1, 2)}
    peers = {name: Row(name) for name in PEERS}
    for _ in range(n_rounds):
        for name, row in peers.items():
            # pycocotools takes longer than everything else together.
            if not row.failure and not (name == "pycocotools" and row.walls):
                measure(row, [sys.executable, os.path.abspath(__file__), "--peer=" + name, gt, dt], None,
                        environment)
        for n, row in ours.items():
            path = os.path.join(folder, "result.json")
            measure(row, [program, gt, dt, "--num_threads=%d" % n, "--json=" + path], path, environment)
    reference = peers["pycocotools"]
    print("%-24s %9s %9s %9s %9s  %s" % ("", "median s", "best s", "CPU s", "peak MB", "twelve numbers"))
    for row in [*peers.values(), *ours.values()]:
        if row.failure or not row.walls:
            print("%-24s not measured: %s" % (row.name, row.failure))
            continue
        print("%-24s %9.3f %9.3f %9.3f %9.0f  %s" % (
            row.name, statistics.median(row.walls), min(row.walls), min(row.cpus), row.peak / 1e6,
            describe_equality(row, reference)))
    timed = [row for row in peers.values() if row.walls]
    best = min(timed, key=lambda row: statistics.median(row.walls), default=None)
    if best is not None and ours[2].walls:
        print("fastest peer: %s; its time over ours on 2 threads: %.2f (medians), %.2f (best)" % (
            best.name, statistics.median(best.walls) / statistics.median(ours[2].walls),
            min(best.walls) / min(ours[2].walls)))
    wrong = [row.name for row in ours.values()
             if row.failure or (reference.stats is not None and row.stats != reference.stats)]
    if wrong:
        raise SystemExit("wrong: " + ", ".join(wrong))


if len(sys.argv) == 4 and sys.argv[1].startswith("--peer="):
    run_peer(sys.argv[1][7:], sys.argv[2], sys.argv[3])
else:
    main()
