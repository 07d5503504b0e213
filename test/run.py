"""Runs the parts of make test one after the other, all of them, and adds up: run.py UNIT-TEST..."""
import os
import re
import subprocess
import sys
import time

BUILD, SAN = os.environ["BUILD"], os.environ.get("SAN", "")
SLOW = bool(SAN)  # sanitizers take the same paths with fewer repetitions
# A simulated node whose memory runs out takes its locks with it: for the detector of deadlocks they are held for ever.
os.environ.setdefault("TSAN_OPTIONS", "detect_deadlocks=0")

MAKE = ["make", "-s", "--no-print-directory"]

PARTS = {
    "lint": MAKE + ["lint"],
    "unit": ["sh", "test/run-unit.sh"] + sys.argv[1:],
    "kept seeds": ["sh", "test/sim-seeds.sh", BUILD + "/anneal-sim"],
    "simulator": ["sh", "test/sim.sh", BUILD + "/anneal-sim", "1", "100" if SLOW else "1000", "1000"],
    "differential": [sys.executable, "test/integration/differential.py", "20000" if SLOW else "200000"],
    "maelstrom": [sys.executable, "-B", "test/maelstrom/run.py", "--binary", BUILD + "/anneal-maelstrom"] + ["--no-proof"] * SLOW,
    "integration": [sys.executable, "-m", "pytest", "-q", "-rs", "test/integration", "test/stress"],
    "stress": [sys.executable, "-B", "test/stress/run.py", "--seconds", "20"],
}
if not SLOW:  # these bring builds of their own
    THREADS = ["env", "BUILD=build/thread", "SAN=thread"]
    PARTS |= {
        "thread sanitizer": MAKE + ["-j%d" % os.cpu_count(), "SAN=thread", "build/thread/anneal-server"],
        "thread sanitizer, integration": THREADS + [sys.executable, "-m", "pytest", "-q", "-rs"] +
        ["test/integration/test_%s.py" % name for name in ("server", "cluster", "archive")],
        "thread sanitizer, stress": THREADS + [sys.executable, "-B", "test/stress/run.py", "--seconds", "15"],
        "same trace": MAKE + ["sim-same"],
        "mutants": MAKE + ["mutants"],
        "fuzz": ["sh", "test/fuzz.sh"] + os.environ["FUZZ"].split(),
    }


SUMMARY = re.compile(r"(?:[a-z ]+: )?\d+ (?:passed|failed|seeds)\b")


def run(command):
    """(exit code, the last line that sums up); everything is passed on as it comes."""
    summary = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace") as p:
        for line in p.stdout:
            print(line, end="", flush=True)
            if SUMMARY.match(line):
                summary = line
    return p.returncode, summary


def counts(code, summary):
    """A part that sums nothing up counts as one; one that ends badly without a number has failed once."""
    said = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|seeds)\b", summary)}
    failed = said.get("failed", 0) or int(code != 0)
    passed = said["seeds"] - failed if "seeds" in said else said.get("passed", int(code == 0))
    return passed, failed


def main():
    passed = failed = 0
    for name, command in PARTS.items():
        began = time.monotonic()
        print("== %s" % name, flush=True)
        good, bad = counts(*run(command))
        print("== %s: %d passed, %d failed, %.0f s" % (name, good, bad, time.monotonic() - began), flush=True)
        passed, failed = passed + good, failed + bad
    print("%d passed, %d failed" % (passed, failed))
    return failed > 0


sys.exit(main())
